//! A world for pools of keys: questions with a daily curve and bursts, a virtual clock, an emulated
//! Gemini that keeps the true counters and answers as api-reference B4 says, kills at random.
//! One seed, one run: the same numbers every time.

#[path = "pool_gemini.rs"]
mod gemini;
#[path = "pool_plan.rs"]
mod plan;

pub use gemini::LIMITS;
use gemini::{Gemini, INPUT_TOKENS, model_position};
use nanorand::{Rng, WyRand};
pub use plan::{Plan, Report, START_MS};
use std::collections::BTreeMap;
use svs_bot::calendar::pacific_day;
use svs_bot::types::model::{ModelFailure, Usage};
use svs_bot::types::{DAY_MS, HOUR_MS, MINUTE_MS, Now, Role, Tier, UnixMs};

pub const PATIENCE_MS: i64 = 5 * MINUTE_MS;
const WORKERS: usize = 64;
/// How long a model is overloaded.
const OVERLOAD_MS: i64 = 20 * MINUTE_MS;

/// What a strategy says to a question.
pub enum Said {
    Use { key: usize, model: String, ticket: i64 },
    Wait(UnixMs),
    Never,
}

/// A way of choosing keys.
pub trait Strategy {
    fn pick(&mut self, role: Role, tier: Tier, exclude: &[String], now: Now, dice: u32) -> Said;
    fn done(&mut self, ticket: i64, result: Result<&Usage, &ModelFailure>, now: Now);
    /// Everything since the last commit is on disk.
    fn commit(&mut self);
    /// The process was killed and starts again.
    fn restart(&mut self, now: Now);
    /// Until when a key is set aside, if it is.
    fn out_until(&self, key: usize, now: Now) -> Option<UnixMs>;
    /// Whether a role may use a key at all.
    fn may_use(&self, _role: Role, _key: usize) -> bool {
        true
    }
    /// The project that each key is believed to count on, as a label.
    fn believed(&self, _now: Now) -> Vec<String> {
        Vec::new()
    }
    /// Today's count per project name and model, where the strategy keeps one.
    fn counts(&self, _now: Now) -> Vec<(usize, String, u64)> {
        Vec::new()
    }
}

#[derive(Clone)]
struct Question {
    role: Role,
    tier: Tier,
    came_ms: UnixMs,
    due_ms: UnixMs,
    tries: u32,
    exclude: Vec<String>,
}

enum Event {
    Question(Question),
    /// A call arrives at Gemini, sent by this run of the process.
    Arrive {
        run: u64,
        ticket: i64,
        key: usize,
        model: usize,
    },
    /// Its answer arrives here.
    Answer {
        run: u64,
        ticket: i64,
        result: Result<Usage, ModelFailure>,
    },
    /// The model is overloaded for a while.
    Overload {
        model: usize,
    },
    Wake,
    Hour,
    Midnight,
}

/// Runs a strategy through a plan.
pub struct World<'a> {
    plan: Plan,
    strategy: &'a mut dyn Strategy,
    dice: WyRand,
    gemini: Gemini,
    /// By time, then by the order they were put in.
    due: BTreeMap<(UnixMs, u64), Event>,
    serial: u64,
    waiting: Vec<Question>,
    /// By ticket of this run.
    asking: BTreeMap<i64, (Question, String, UnixMs, usize)>,
    run: u64,
    takes: u64,
    wake_ms: UnixMs,
    next_kill_ms: UnixMs,
    /// Requests that may have been counted more often here than there: in flight at kills and midnights.
    doubtful: BTreeMap<(usize, usize), u64>,
    /// Questions of the day by (tier is lite, privileged).
    demand: BTreeMap<(bool, bool), u64>,
    report: Report,
}

impl<'a> World<'a> {
    pub fn new(plan: Plan, strategy: &'a mut dyn Strategy) -> Self {
        let dice = WyRand::new_seed(plan.seed);
        let gemini = Gemini { outside_percent: plan.outside_percent, ..Gemini::default() };
        Self {
            plan,
            strategy,
            dice,
            gemini,
            due: BTreeMap::new(),
            serial: 0,
            waiting: Vec::new(),
            asking: BTreeMap::new(),
            run: 0,
            takes: 0,
            wake_ms: UnixMs::MAX,
            next_kill_ms: UnixMs::MAX,
            doubtful: BTreeMap::new(),
            demand: BTreeMap::new(),
            report: Report::default(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice.generate::<u64>() % bound.max(1)
    }

    fn put(&mut self, at_ms: UnixMs, event: Event) {
        self.serial += 1;
        self.due.insert((at_ms, self.serial), event);
    }

    pub fn run(mut self) -> Report {
        for day in 0..self.plan.days {
            self.questions_of(START_MS + day * DAY_MS);
            self.put(START_MS + (day + 1) * DAY_MS, Event::Midnight);
            for hour in 0..24 {
                self.put(START_MS + day * DAY_MS + hour * HOUR_MS + 1_800_000, Event::Hour);
            }
        }
        self.plan_kill(START_MS);
        let end_ms = START_MS + self.plan.days * DAY_MS;
        while let Some(((at_ms, _), event)) = self.due.pop_first() {
            if at_ms > end_ms {
                break;
            }
            self.turn(event, Now { unix_ms: at_ms });
        }
        self.report
    }

    /// A day: quiet nights, busy evenings, and bursts of a group's talk.
    fn questions_of(&mut self, day_ms: UnixMs) {
        let mut left = u64::from(self.plan.questions) * (70 + self.below(60)) / 100;
        while left > 0 {
            let hour = self.below(24) as i64;
            let busy = 100 - (hour - 14).abs() * 7;
            if (self.below(100) as i64) >= busy {
                continue;
            }
            let at_ms = day_ms + hour * HOUR_MS + self.below(HOUR_MS as u64) as i64;
            let burst = if self.below(30) == 0 { 1 + self.below(8) } else { 1 };
            for _ in 0..burst.min(left) {
                left -= 1;
                let came_ms = at_ms + self.below(20_000) as i64;
                let role = match self.below(100) {
                    0..=2 => Role::Owner,
                    3..=9 => Role::Vip,
                    10..=19 => Role::Premium,
                    20..=89 => Role::Normal,
                    _ => Role::Guest,
                };
                let tier = match self.below(100) {
                    _ if role == Role::Guest => Tier::Lite,
                    0..=4 if role != Role::Normal => Tier::Pro,
                    0..=19 => Tier::Flash,
                    _ => Tier::Lite,
                };
                let question = Question {
                    role,
                    tier,
                    came_ms,
                    due_ms: came_ms,
                    tries: 0,
                    exclude: Vec::new(),
                };
                self.put(came_ms, Event::Question(question));
            }
        }
        // The model everybody uses is overloaded for a while on some days.
        if self.below(3) == 0 {
            let model = self.below(4) as usize;
            let from = day_ms + self.below(DAY_MS as u64) as i64;
            self.put(from, Event::Overload { model });
        }
        if self.plan.storms {
            let from = day_ms + self.below(DAY_MS as u64) as i64;
            for model in 0..LIMITS.len() {
                self.put(from, Event::Overload { model });
            }
        }
    }

    fn plan_kill(&mut self, now_ms: UnixMs) {
        if self.plan.kill_every_h > 0 {
            let mean = self.plan.kill_every_h * HOUR_MS;
            self.next_kill_ms = now_ms + 1 + self.below(2 * mean as u64) as i64;
        }
    }

    fn turn(&mut self, event: Event, now: Now) {
        match event {
            Event::Question(question) => {
                self.report.asked += 1;
                let privileged = matches!(question.role, Role::Owner | Role::Vip);
                *self.demand.entry((question.tier == Tier::Lite, privileged)).or_default() += 1;
                self.waiting.push(question);
            }
            Event::Arrive { run, ticket, key, model } => {
                return self.arrive(run, ticket, key, model, now);
            }
            Event::Answer { run, ticket, result } if run == self.run => {
                self.answer(ticket, &result, now)
            }
            Event::Answer { .. } => return,
            Event::Wake => {
                if self.wake_ms <= now.unix_ms {
                    self.wake_ms = UnixMs::MAX;
                }
            }
            Event::Overload { model } => {
                self.gemini.overload[model] = (now.unix_ms, now.unix_ms + OVERLOAD_MS);
                return;
            }
            Event::Hour => return self.look(now),
            Event::Midnight => return self.midnight(),
        }
        let sends = self.dispatch(now);
        if now.unix_ms >= self.next_kill_ms {
            // Half of the kills come before the commit: then nothing of this turn has happened, and
            // nothing of it was sent.
            let committed = self.below(2) == 0;
            if committed {
                self.strategy.commit();
                self.send(sends, now);
            }
            return self.kill(now);
        }
        self.strategy.commit();
        self.send(sends, now);
    }

    fn send(&mut self, sends: Vec<(i64, usize, usize)>, now: Now) {
        for (ticket, key, model) in sends {
            let at_ms = now.unix_ms + 30 + self.below(700) as i64;
            self.put(at_ms, Event::Arrive { run: self.run, ticket, key, model });
        }
    }

    fn dispatch(&mut self, now: Now) -> Vec<(i64, usize, usize)> {
        let mut sends = Vec::new();
        self.waiting.retain(|question| question.came_ms + PATIENCE_MS > now.unix_ms);
        let mut blocked: Vec<(Role, Tier)> = Vec::new();
        while self.asking.len() < WORKERS {
            let oldest = (self.takes + 1).is_multiple_of(8);
            let ready = self.waiting.iter().enumerate().filter(|(_, question)| {
                question.due_ms <= now.unix_ms && !blocked.contains(&(question.role, question.tier))
            });
            let next = ready.min_by_key(|(_, question)| {
                (if oldest { 0 } else { question.role.priority() }, question.came_ms)
            });
            let Some((at, question)) = next.map(|(at, question)| (at, question.clone())) else {
                break;
            };
            let dice = self.dice.generate::<u32>();
            match self.strategy.pick(question.role, question.tier, &question.exclude, now, dice) {
                Said::Use { key, model, ticket } => {
                    self.takes += 1;
                    self.waiting.remove(at);
                    if !oldest && self.is_overtaking(&question, key, &model, now) {
                        self.report.overtaken += 1;
                    }
                    sends.push((ticket, key, model_position(&model)));
                    self.asking.insert(ticket, (question, model, now.unix_ms, key));
                }
                Said::Wait(_) | Said::Never if !question.exclude.is_empty() => {
                    self.waiting[at].exclude.clear();
                    self.waiting[at].due_ms = now.unix_ms + 1_000;
                    self.wake_at(now.unix_ms + 1_000);
                }
                Said::Wait(until_ms) => {
                    blocked.push((question.role, question.tier));
                    self.wake_at(until_ms.max(now.unix_ms + 50));
                }
                Said::Never => blocked.push((question.role, question.tier)),
            }
        }
        sends
    }

    /// An owner or vip who asks for the same could have had this key.
    fn is_overtaking(&self, taken: &Question, key: usize, model: &str, now: Now) -> bool {
        // Who deserves a strong model waits a second for it rather than take a weaker one.
        let fits = match taken.tier {
            Tier::Lite => model.contains("lite"),
            Tier::Flash | Tier::Pro => !model.contains("lite"),
        };
        let privileged = |role| matches!(role, Role::Owner | Role::Vip);
        fits && !privileged(taken.role)
            && self.waiting.iter().any(|other| {
                privileged(other.role)
                    && other.due_ms <= now.unix_ms
                    && other.tier == taken.tier
                    && other.exclude.is_empty()
                    && self.strategy.may_use(other.role, key)
            })
    }

    fn wake_at(&mut self, at_ms: UnixMs) {
        if at_ms < self.wake_ms {
            self.wake_ms = at_ms;
            self.put(at_ms, Event::Wake);
        }
    }

    fn arrive(&mut self, run: u64, ticket: i64, key: usize, model: usize, now: Now) {
        self.report.calls += 1;
        let trouble = self.below(1_000) < u64::from(self.plan.trouble_per_mille);
        let kind = self.below(5);
        let project = self.plan.project_of(key);
        if trouble && kind == 0 {
            // Never left: it is no call at all.
            self.report.calls -= 1;
            let result = Err(ModelFailure::Network { sent: false, why: String::new() });
            return self.put(now.unix_ms + 100, Event::Answer { run, ticket, result });
        }
        let mut result = if self.plan.is_bad(key, now.unix_ms) {
            self.report.bad_calls += 1;
            let why = if key < self.plan.bad_keys { "invalid" } else { "leaked" };
            Err(ModelFailure::BadKey { why })
        } else {
            self.gemini.ask(project, model, now.unix_ms)
        };
        if matches!(result, Err(ModelFailure::Quota(_) | ModelFailure::BadKey { .. })) {
            self.report.wasted += 1;
        }
        if trouble && result.is_ok() {
            let usage = Usage { input: INPUT_TOKENS, output: 0 };
            result = Err(match kind {
                1 => ModelFailure::BadRequest { why: String::new() },
                2 => ModelFailure::Internal,
                3 => ModelFailure::Safety { reason: "SAFETY".to_owned(), usage },
                _ => ModelFailure::Network { sent: true, why: String::new() },
            });
        }
        let took_ms = if result.is_ok() { 800 + self.below(6_000) } else { 150 };
        self.put(now.unix_ms + took_ms as i64, Event::Answer { run, ticket, result });
    }

    fn answer(&mut self, ticket: i64, result: &Result<Usage, ModelFailure>, now: Now) {
        let Some((mut question, model, sent_ms, key)) = self.asking.remove(&ticket) else { return };
        self.strategy.done(ticket, result.as_ref(), now);
        question.tries += 1;
        let after_ms = match result {
            // An honest word about the question itself is an answer as far as keys go.
            Ok(_) | Err(ModelFailure::BadRequest { .. } | ModelFailure::Safety { .. }) => {
                self.report.answered += 1;
                let group = self.plan.group_of(key).label();
                *self.report.by_group.entry((question.role.priority(), group)).or_default() += 1;
                let wait = self.report.waits.entry(question.role.priority()).or_default();
                wait.0 += sent_ms - question.came_ms;
                wait.1 += 1;
                return;
            }
            Err(ModelFailure::Overloaded | ModelFailure::Internal) => {
                question.exclude.push(model);
                0
            }
            Err(ModelFailure::Quota(_) | ModelFailure::BadKey { .. }) => 0,
            Err(_) => 1_000,
        };
        if question.tries < 24 {
            question.due_ms = now.unix_ms + after_ms;
            self.wake_at(question.due_ms.max(now.unix_ms + 1));
            self.waiting.push(question);
        }
    }

    fn kill(&mut self, now: Now) {
        self.report.kills += 1;
        self.run += 1;
        for (_, (question, model, ..)) in std::mem::take(&mut self.asking) {
            // Which project it was counted on only the strategy knows: allowed for on each.
            for project in 0..self.plan.projects {
                *self.doubtful.entry((project, model_position(&model))).or_default() += 1;
            }
            self.waiting.push(question);
        }
        self.strategy.restart(now);
        self.plan_kill(now.unix_ms);
        self.wake_at(now.unix_ms + 1);
        self.compare(now, "after a kill");
    }

    fn look(&mut self, now: Now) {
        self.compare(now, "at an hour");
        self.compare_projects(now);
        for key in self.plan.good_keys() {
            let Some(until_ms) = self.strategy.out_until(key, now) else { continue };
            let project = self.plan.project_of(key);
            let open = (0..LIMITS.len()).any(|model| {
                let (_, rpm, rpd) = LIMITS[model];
                let usable = rpd * 9 / 10;
                let counter = self.gemini.counter(project, model, now.unix_ms);
                let free = counter.count + 2 < usable && counter.minute.len() < rpm;
                free && self.gemini.overload[model].1 + OVERLOAD_MS < now.unix_ms
            });
            if open && until_ms > now.unix_ms + 2 * MINUTE_MS {
                self.report.wrong_set_asides += 1;
            }
        }
    }

    fn compare_projects(&mut self, now: Now) {
        let believed = self.strategy.believed(now);
        for one in 0..believed.len() {
            for other in 0..one {
                let truth = self.plan.project_of(one) == self.plan.project_of(other);
                match (believed[one] == believed[other], truth) {
                    (true, false) => self.report.wrong_joins += 1,
                    (false, true) => self.report.missed_joins += 1,
                    _ => {}
                }
            }
        }
    }

    /// Local counters against the true ones.
    fn compare(&mut self, now: Now, when: &str) {
        for (project, model, used) in self.strategy.counts(now) {
            let at = model_position(&model);
            let all = self.gemini.counter(project, at, now.unix_ms).count;
            let outside = self.gemini.outside(project, at, pacific_day(now.unix_ms));
            let truth = u64::from(all.saturating_sub(outside));
            let in_flight =
                self.asking.values().filter(|(_, asked, ..)| *asked == model).count() as u64;
            let doubtful = self.doubtful.get(&(project, at)).copied().unwrap_or(0);
            if used < truth || used > truth + in_flight + doubtful {
                self.report.breaches.push(format!(
                    "{when} {}: project {project} {model}: counted {used}, true {truth}, in flight {in_flight}, doubtful {doubtful}",
                    now.unix_ms
                ));
            }
        }
    }

    fn midnight(&mut self) {
        let before: u64 = self.report.wasted_by_day.iter().sum();
        self.report.wasted_by_day.push(self.report.wasted - before);
        let day = std::mem::take(&mut self.demand);
        let of = |lite, privileged| day.get(&(lite, privileged)).copied().unwrap_or(0);
        let alive: std::collections::BTreeSet<usize> =
            self.plan.good_keys().map(|key| self.plan.project_of(key)).collect();
        let today = pacific_day(START_MS) + self.report.wasted_by_day.len() as i64 - 1;
        // What the limits leave after the share and the tenth of it that is kept for owner and vip,
        // and after what somebody else uses.
        let open = |project: usize, model: usize| {
            let rpd = LIMITS[model].2;
            let left = rpd - self.gemini.outside(project, model, today);
            u64::from((rpd * 9 / 10 - rpd * 9 / 10 / 10).min(left))
        };
        let room = |from: usize, to: usize| -> u64 {
            alive.iter().flat_map(|at| (from..to).map(|model| open(*at, model))).sum()
        };
        // Flash questions may go down to lite, not the other way.
        let flash = of(false, false) + of(false, true);
        let flash_given = flash.min(room(2, 4));
        let lite_given = (of(true, false) + of(true, true) + flash - flash_given).min(room(0, 2));
        self.report.possible += flash_given + lite_given;
        self.doubtful.clear();
        for (_, model, ..) in self.asking.values() {
            for project in 0..self.plan.projects {
                *self.doubtful.entry((project, model_position(model))).or_default() += 1;
            }
        }
    }
}
