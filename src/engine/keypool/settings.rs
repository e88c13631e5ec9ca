//! Owns: the pool's settings, the built-in table of limits, who may use which group, the chains.
//! May not: know what is used up or resting.

use crate::types::{Group, Role, Tier};

/// Part of a day's share that is kept for owner and vip: one in so many, rounded down (contract §2).
const KEPT_ONE_IN: u32 = 10;
/// Guards the floor of `limit × share` against a product like 28.999999999999996.
const SHARE_EPSILON: f64 = 1e-6;

/// A limit as the settings give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The built-in table, then what replies teach.
    Auto,
    /// No limit.
    Unlimited,
    /// This many.
    Fixed(u32),
}

impl Limit {
    pub(super) fn or_known(self, learned: Option<u32>, table: Option<u32>) -> Option<u32> {
        match self {
            Self::Auto => learned.or(table),
            Self::Unlimited => None,
            Self::Fixed(limit) => Some(limit),
        }
    }
}

/// A key as the settings give it, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// `secret_hash::fingerprint`
    pub fingerprint: String,
    /// All that may be shown.
    pub last4: String,
    /// Where it was listed.
    pub group: Group,
    /// `key@project`
    pub project: Option<String>,
}

/// What the pool obeys.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// In the order of `keys list`.
    pub keys: Vec<KeySpec>,
    /// `MODEL_LITE`
    pub lite: Vec<String>,
    /// `MODEL_FLASH`
    pub flash: Vec<String>,
    /// `MODEL_PRO`
    pub pro: Vec<String>,
    /// `KEY_RPM`, per project and model
    pub rpm: Limit,
    /// `PRO_RPM`, in place of `rpm` for models that only the pro chain has
    pub pro_rpm: Limit,
    /// `LITE_RPD`
    pub lite_rpd: Limit,
    /// `FLASH_RPD`
    pub flash_rpd: Limit,
    /// `PRO_RPD`
    pub pro_rpd: Limit,
    /// `KEY_MIN_INTERVAL`, per key
    pub min_interval_ms: i64,
    /// `KEY_DAILY_SHARE`
    pub daily_share: f64,
}

impl PoolSettings {
    fn models_of(&self, tier: Tier) -> &[String] {
        match tier {
            Tier::Lite => &self.lite,
            Tier::Flash => &self.flash,
            Tier::Pro => &self.pro,
        }
    }

    /// The weakest tier whose chain names the model: its limits are those of that tier.
    pub(super) fn class_of(&self, model: &str) -> Option<Tier> {
        [Tier::Lite, Tier::Flash, Tier::Pro]
            .into_iter()
            .find(|tier| self.models_of(*tier).iter().any(|known| known == model))
    }

    /// Every model of every chain, once, strongest tier first.
    pub(super) fn models(&self) -> Vec<String> {
        let mut models = Vec::new();
        for model in self.chain(Tier::Pro).into_iter().flatten() {
            models.push(model.to_owned());
        }
        models
    }

    /// The models of a tier, then of each tier below, each model once.
    pub(super) fn chain(&self, tier: Tier) -> Vec<Vec<&str>> {
        let mut seen: Vec<&str> = Vec::new();
        let mut steps = Vec::new();
        for step in [Tier::Pro, Tier::Flash, Tier::Lite].into_iter().filter(|step| *step <= tier) {
            let mut models = Vec::new();
            for model in self.models_of(step) {
                if !seen.contains(&model.as_str()) {
                    seen.push(model);
                    models.push(model.as_str());
                }
            }
            steps.push(models);
        }
        steps
    }

    pub(super) fn rpm_of(&self, class: Tier) -> Limit {
        // An operator who bounds every key bounds the pro models too, unless they have their own.
        if class == Tier::Pro && self.pro_rpm != Limit::Auto { self.pro_rpm } else { self.rpm }
    }

    pub(super) fn rpd_of(&self, class: Tier) -> Limit {
        match class {
            Tier::Lite => self.lite_rpd,
            Tier::Flash => self.flash_rpd,
            Tier::Pro => self.pro_rpd,
        }
    }

    /// How many of a day's `limit` a role may use.
    pub(super) fn share_of(&self, limit: u32, role: Role) -> u32 {
        let total = self.share(limit);
        match role {
            Role::Owner | Role::Vip => total,
            _ => total - total / KEPT_ONE_IN,
        }
    }

    /// How many of a day's `limit` the bot may use.
    pub(super) fn share(&self, limit: u32) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a product of a u32 and a share within 0..=1, rounded down"
        )]
        let total =
            (f64::from(limit) * self.daily_share.clamp(0.0, 1.0) + SHARE_EPSILON).floor() as u32;
        total.min(limit)
    }

    /// The groups of a role in the order they are tried, without the reserve.
    pub fn groups_of(&self, role: Role) -> Vec<Group> {
        use Group::{A, B, C, D, Ungrouped};
        let own: &[Group] = match role {
            Role::Owner => &[A],
            Role::Vip => &[A, B],
            Role::Premium => &[B, C],
            Role::Normal => &[C, D],
            Role::Guest => &[D],
            Role::Blocked => return Vec::new(),
        };
        let mut groups = own.to_vec();
        groups.push(Ungrouped);
        if !own.iter().any(|group| self.holds(*group)) {
            // Downwards first, so that no guest takes the owner's keys while others are as near.
            let nearest: &[Group] = match role {
                Role::Owner => &[B, C, D],
                Role::Vip => &[C, D],
                Role::Premium => &[D, A],
                Role::Normal => &[B, A],
                _ => &[C, B, A],
            };
            groups.extend(nearest.iter().find(|group| self.holds(**group)));
        }
        groups
    }

    fn holds(&self, group: Group) -> bool {
        self.keys.iter().any(|key| key.group == group)
    }
}

/// Where the models of each step stand in the list of all.
pub(super) fn positions(chain: &[Vec<&str>], models: &[String]) -> Vec<Vec<usize>> {
    chain
        .iter()
        .map(|step| {
            step.iter().filter_map(|name| models.iter().position(|known| known == name)).collect()
        })
        .collect()
}

/// Limits of a (project, model) pair; `None` is unknown or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) rpm: Option<u32>,
    pub(super) tpm: Option<u32>,
    pub(super) rpd: Option<u32>,
}

/// The free tier as seen in replies (api-reference B5). Pro models have none there, which the first
/// reply says itself; a paid project's limits are learned or set. Unknown names have no limit until
/// a reply names one.
pub(super) fn built_in(model: &str) -> Limits {
    const TPM: Option<u32> = Some(250_000);
    let old = model.contains("-2.5-");
    if model.contains("flash-lite") {
        let (rpm, rpd) = if old { (10, 20) } else { (15, 500) };
        Limits { rpm: Some(rpm), tpm: TPM, rpd: Some(rpd) }
    } else if model.contains("flash") {
        Limits { rpm: Some(5), tpm: TPM, rpd: Some(20) }
    } else if model.contains("-pro") {
        Limits { rpm: Some(5), tpm: TPM, rpd: None }
    } else {
        Limits::default()
    }
}
