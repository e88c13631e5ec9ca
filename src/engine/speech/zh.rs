//! Owns: the sentences in simplified Chinese.

use super::{KeyState, OwnerStatus, Refusal, Scope, Speech};
use crate::types::Role;
use crate::types::status::Hold;

/// Command, description, who sees it.
pub(super) const COMMANDS: &[(&str, &str, Scope)] = &[
    ("start", "打个招呼", Scope::Everyone),
    ("help", "使用说明", Scope::Everyone),
    ("status", "我的身份和进度", Scope::Everyone),
    ("vip", "群聊席位", Scope::Everyone),
    ("reset", "忘掉这段对话，重新开始", Scope::Everyone),
    ("export", "导出我的聊天记录", Scope::Private),
    ("forget", "删除我的全部数据", Scope::Private),
    ("grant", "授予身份：ID 身份 [期限]", Scope::Owner),
    ("revoke", "收回身份：ID", Scope::Owner),
    ("kick", "结束群聊会话：[ID]", Scope::Owner),
    ("keys", "密钥列表", Scope::Owner),
    ("park", "停用密钥：序号", Scope::Owner),
    ("revive", "恢复密钥：序号", Scope::Owner),
    ("usage", "今日用量", Scope::Owner),
    ("sync", "立即同步", Scope::Owner),
    ("reload", "重新读取设置", Scope::Owner),
];

#[expect(clippy::too_many_lines, reason = "a list of sentences, one arm each")]
pub(super) fn say(what: &Speech<'_>) -> String {
    match what {
        Speech::Start { name } => format!(
            "你好，{name}！我是小爱同学 👋\n直接发消息给我就能聊天，图片、语音和 PDF 也可以。在群里叫我的名字或 @ 我就行。\n发送 /help 查看我会做什么。"
        ),
        Speech::Help { owner } => {
            let mut text = "我能做这些：\n\n• 私聊直接提问；群里提到我、@ 我或回复我的消息\n• 看图片、听语音、读 PDF 和文本文件\n\n/status 我的身份和进度\n/vip 群聊席位\n/reset 忘掉这段对话，重新开始\n/export 导出我的聊天记录（私聊）\n/forget 删除我的全部数据（私聊）".to_owned();
            if *owner {
                text.push_str("\n\n主人专用：\n/grant ID 身份 [30d] 授予身份\n/revoke ID 收回身份\n/kick [ID] 结束群聊会话\n/keys 密钥列表\n/park 序号 停用密钥\n/revive 序号 恢复密钥\n/usage 今日用量\n/sync 立即同步\n/reload 重新读取设置");
            }
            text
        }
        Speech::StatusPerson { role, round, waiting, quota_note } => {
            let mut text = format!("你的身份：{}", role_name(*role));
            match round {
                Some((round, of)) => text.push_str(&format!("\n本次对话：第 {round}/{of} 轮")),
                None => text.push_str("\n本次对话：还没有开始"),
            }
            if *waiting != 0 {
                text.push_str(&format!("\n排队中的问题：{waiting} 个"));
            }
            if let Some(note) = quota_note {
                text.push_str(&format!("\n{note}"));
            }
            text
        }
        Speech::StatusOwner(status) => owner_status(status),
        Speech::VipSlots { used, slots, people, next_free_min } => {
            let mut text = format!("群聊席位：已用 {used}/{slots}");
            for (name, idle) in *people {
                text.push_str(&format!("\n• {name}，{}", idle_words(*idle)));
            }
            match next_free_min {
                _ if used < slots => text.push_str("\n现在就有空位，叫我一声就行。"),
                Some(minutes) => text.push_str(&format!("\n最快约 {minutes} 分钟后空出一个。")),
                None => text.push_str("\n暂时没有空位，请稍后再看。"),
            }
            text
        }
        Speech::VipFull { slots, next_free_min } => match next_free_min {
            Some(minutes) => format!(
                "抱歉，{slots} 个群聊席位都有人了，最快约 {minutes} 分钟后空出。你也可以直接私聊我，不占席位。"
            ),
            None => format!("抱歉，{slots} 个群聊席位都有人了，请稍后再试。你也可以直接私聊我，不占席位。"),
        },
        Speech::Reset => "好的，刚才的对话我都忘掉了，我们重新开始吧。".to_owned(),
        Speech::ResetNothing => "现在没有进行中的对话，直接提问就好。".to_owned(),
        Speech::UnknownCommand => "我不认识这个命令。发送 /help 看看我会什么。".to_owned(),
        Speech::QueueFull => "现在提问的人太多了，这条消息我没能收下。请过几分钟再发一次。".to_owned(),
        Speech::UserQueueFull { waiting } => {
            format!("你还有 {waiting} 个问题在排队，这条我先不收了。等我答完几个再发吧。")
        }
        Speech::SlowDown => "请慢一点：前面的回复发完之前，我先不回应更多这样的消息。".to_owned(),
        Speech::NotAllowedHere { chat } => {
            format!("抱歉，我没有获准在这里聊天。如需开通，请把这个编号发给管理我的人：{chat}")
        }
        Speech::GuestNoMemory => {
            "你目前是访客，我不会记住前面的对话，请把问题一次说完整。想连续聊天可以联系管理我的人。".to_owned()
        }
        Speech::WaitForKey { minutes } => {
            format!("现在有点忙，你的问题已经记下了，可能要等 {minutes} 分钟左右，不用重发。")
        }
        Speech::QuotaUntil { until } => format!("现有的额度暂时用完了，这个问题没能回答。请在 {until} 之后再问我。"),
        Speech::Safety { reason } => refusal(Refusal::of(reason)).to_owned(),
        Speech::TooLong => "内容太长了，我一次读不完。请缩短一些，或分成几段发给我。".to_owned(),
        Speech::Empty => "这次没有得到任何回答。请换个说法再问一次。".to_owned(),
        Speech::Timeout => "等了很久也没有等到回答。请稍后再问一次，或把问题拆小一点。".to_owned(),
        Speech::ModelTrouble => "模型那边暂时出了问题，我试了几次都没成功。请过几分钟再问。".to_owned(),
        Speech::Failed { what } => format!("抱歉，处理时出了错（{what}）。请再发一次；如果还是不行，请告诉管理我的人。"),
        Speech::CutShort => "（回答达到长度上限，到此为止。回复“继续”我接着说。）".to_owned(),
        Speech::StoppedByFilter => "（后面的内容被安全过滤拦下了，只能说到这里。可以换个角度再问。）".to_owned(),
        Speech::NothingToAnswer => "这种消息我还看不懂。请用文字告诉我你想问什么。".to_owned(),
        Speech::MediaLeftOut { files, limit } => {
            format!("相册里有 {files} 个文件没有看：每个文件最多 {limit}，一次最多十个。")
        }
        Speech::MediaTooLarge { limit } => format!("文件太大了，我最多能看 {limit}。请压缩一下，或只发需要的部分。"),
        Speech::MediaUnknown => "这种文件我看不了。我能看图片、语音、音频、PDF 和文本文件。".to_owned(),
        Speech::MediaOff => "这里只支持文字消息。请把内容用文字发给我。".to_owned(),
        Speech::MediaGone => "这个文件我没能下载下来。请重新发送一次。".to_owned(),
        Speech::RegionBlocked => "服务器所在的地区暂不支持所用的模型，我现在无法回答。请告诉管理我的人。".to_owned(),
        Speech::NoKeys => "目前没有可用的模型密钥，我暂时无法回答。请告诉管理我的人，稍后再试。".to_owned(),
        Speech::ForgetAsk => "要删除你的全部聊天记录和会话吗？删除后无法恢复，需要的话请先用 /export 导出。".to_owned(),
        Speech::ForgetYes => "删除全部".to_owned(),
        Speech::ForgetNo => "先不删".to_owned(),
        Speech::ForgetDone { rows } => format!("已删除本机上你的 {rows} 条记录；Supabase 里如有副本，会在下次同步时删除。这个聊天窗口里的消息需要你自己在 Telegram 里删除。"),
        Speech::ForgetCancelled => "好的，什么都没有删除。".to_owned(),
        Speech::ButtonOld => "这个按钮已经失效了，请重新发送命令。".to_owned(),
        Speech::ExportNewest { rounds } => {
            format!("这里是你最近的 {rounds} 轮问答，更早的放不下了。")
        }
        Speech::ExportEmpty => "还没有你的聊天记录可以导出。".to_owned(),
        Speech::PrivateOnly => "这个命令只能在私聊里用，请私聊我再发一次。".to_owned(),
        Speech::GrantDone { user, role, until } => match until {
            Some(until) => format!("已将 {user} 设为{}，有效期至 {until}。", role_name(*role)),
            None => format!("已将 {user} 设为{}。", role_name(*role)),
        },
        Speech::RevokeDone { user, role } => format!("已收回 {user} 的身份，现在是{}。", role_name(*role)),
        Speech::RevokeNothing { user } => format!("{user} 没有单独授予的身份，无需收回。"),
        Speech::BadArguments { usage } => format!("格式不对，请这样用：\n{usage}"),
        Speech::KickDone { name } => format!("已结束 {name} 的群聊会话，空出一个席位。"),
        Speech::KickNone => "没有可以结束的群聊会话。发送 /vip 查看席位。".to_owned(),
        Speech::KeysHeader { ready, total } => format!("密钥：共 {total} 个，{ready} 个可用"),
        Speech::KeyLine { n, group, last4, state, until, project, shares_with, inferred } => {
            let parked = *state == KeyState::Parked;
            let state = match state {
                KeyState::Ready => "可用",
                KeyState::Resting => "休息中",
                KeyState::Spent => "今日额度已用完",
                KeyState::Parked => "已停用",
                KeyState::Dead => "已失效，请更换",
            };
            let until = until.map(|until| format!("，{until}恢复")).unwrap_or_default();
            let project = match (*inferred, shares_with.is_empty()) {
                (true, _) => format!(" · 似乎与 {shares_with} 号同属一个项目"),
                (false, false) => format!(" · 项目 {project}，与 {shares_with} 号共用"),
                (false, true) => String::new(),
            };
            let revive = if parked { format!("，用 /revive {n} 恢复") } else { String::new() };
            format!("{n}. [{group}] …{last4} {state}{until}{revive}{project}")
        }
        Speech::KeyHold { models, why, word, until } => {
            let until = until.map(|until| format!("，{until}恢复")).unwrap_or_default();
            let why = match why {
                Hold::Minute => "这一分钟的额度已用完",
                Hold::Day => "今日额度已用完",
                Hold::Spend => "已到消费上限",
                Hold::Unexplained => "被拒绝，未说明原因",
                Hold::Nothing => "所属项目没有这个模型的额度",
                Hold::Closed => "不对所属项目开放",
                Hold::Overloaded => "模型过载",
                Hold::Unknown => "Gemini 没有这个模型",
                Hold::HeldBack => "可能同属一个项目的密钥今日已用完，暂时少用",
                Hold::Unproven => "别的项目没有这个模型的额度，最后才试",
                Hold::Kept => "今日余下的额度留给主人和 VIP",
                Hold::Saved => "今日所剩不多，主人和 VIP 以外先用较轻的模型",
                Hold::Interval => "两次使用之间的间隔",
                Hold::Storm => return "许多项目同时被拒绝，所有密钥暂停使用".to_owned(),
                Hold::Doubted => return format!("{}，正在复查", refused_key(word)),
                Hold::Dead => return refused_key(word).to_owned(),
                Hold::Parked => return String::new(),
            };
            format!("{models}：{why}{until}")
        }
        Speech::ParkDone { n } => format!("已停用第 {n} 个密钥。用 /revive {n} 恢复。"),
        Speech::ReviveDone { n } => format!("已恢复第 {n} 个密钥。"),
        Speech::NoSuchKey { n, total } => format!("没有第 {n} 个密钥，一共 {total} 个。发送 /keys 查看列表。"),
        Speech::Usage { answers, input_tokens, output_tokens, lines } => {
            let mut text = format!("今日用量：回答 {answers} 次，输入 {input_tokens} 词元，输出 {output_tokens} 词元");
            for line in *lines {
                text.push_str(&format!("\n• {line}"));
            }
            text
        }
        Speech::QuotaLasts { tier, now: true, .. } => format!("{}：今日额度已用完", tier.name()),
        Speech::QuotaLasts { tier, until: Some(until), .. } => {
            format!("{}：照目前的速度大约用到 {until}", tier.name())
        }
        Speech::QuotaLasts { tier, .. } => format!("{}：照目前的速度今天够用", tier.name()),
        Speech::SyncStarted { pending } => format!("已开始同步，待发送 {pending} 条。用 /status 查看进展。"),
        Speech::SyncOff => "没有设置 Supabase，数据只保存在本机。".to_owned(),
        Speech::ReloadDone { changed: "", later: "" } => "设置已重新读取，没有变化。".to_owned(),
        Speech::ReloadDone { changed, later } => {
            let mut text = "设置已重新读取。".to_owned();
            if !changed.is_empty() {
                text.push_str(&format!("\n现已生效：{changed}。"));
            }
            if !later.is_empty() {
                text.push_str(&format!("\n重启后生效：{later}。"));
            }
            text
        }
        Speech::ReloadFailed { why } => format!("设置有误，继续沿用原来的设置：\n{why}\n改好后请再发一次 /reload。"),
        Speech::OwnerPaired => "配对成功，你现在是我的主人了。发送 /help 查看可用的命令。".to_owned(),
        Speech::KnockOwner { user, name } => format!("{name}（{user}）想和我聊天，要允许吗？"),
        Speech::KnockAllow => "允许".to_owned(),
        Speech::KnockDeny => "拒绝".to_owned(),
        Speech::KnockSent => "我还不能和你聊天，已经替你问过管理我的人了，对方决定之前可能要等一等。".to_owned(),
        Speech::KnockAllowed => "你已获准和我聊天，直接发消息吧！".to_owned(),
        Speech::SecretMasked => {
            "你的消息里有一段很像密钥的内容，我已在保存前把它遮住。它仍留在聊天里，请删除那条消息，并尽快到签发处作废、换新。".to_owned()
        }
        Speech::KeyDead { n, last4, why } => {
            format!(
                "⚠️ 第 {n} 个密钥（…{last4}）被 Google 拒绝：{}。我已停用它，请在设置里更换后发送 /reload。",
                refused_key(why)
            )
        }
        Speech::KeysAllDead => "🛑 所有密钥都不可用，我已无法回答任何问题。请更换密钥后发送 /reload。".to_owned(),
        Speech::QuotaLow { percent_left, resets } => {
            format!("⚠️ 今日额度只剩约 {percent_left}%，将在 {resets} 重置。剩下的会优先留给你和贵宾。")
        }
        Speech::SyncFailing { since, why } => {
            format!("⚠️ 自 {since} 起无法同步到 Supabase：{why}。聊天不受影响，数据保存在本机；可用 svs-bot check 查找原因。")
        }
        Speech::SyncRecovered => "✅ 与 Supabase 的同步已恢复。".to_owned(),
        Speech::SyncParked { rows } => {
            format!("⚠️ 有 {rows} 条记录被 Supabase 拒收，已搁置。用 svs-bot check 查看原因，处理好之后运行 svs-bot sync --retry-parked 重发。")
        }
        Speech::DiskLow { free } => format!("⚠️ 磁盘只剩 {free}，请尽快清理，否则我将无法保存新消息。"),
        Speech::ClockWrong { by, ahead } => format!(
            "⚠️ 本机时钟比 Telegram {} {by}，请校准（timedatectl set-ntp true）；相差超过五分钟会无法连接。",
            if *ahead { "快" } else { "慢" }
        ),
        Speech::Salvaged { rows } => format!(
            "⚠️ 数据库损坏了。我已把它移到一旁，救回了能读的部分：{rows} 行。部分对话或设置可能缺失，损坏文件的位置见日志。要完整恢复请用备份；也请检查磁盘。"
        ),
        Speech::Restarted => "我刚才意外停止，现在已经恢复。之前收到的消息都还在，会继续回答。如果反复出现，请查看日志。".to_owned(),
        Speech::NewVersion { version } => format!("我已升级到版本 {version}。如有异常，请查看 svs-bot check 和日志。"),
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "主人",
        Role::Vip => "贵宾",
        Role::Premium => "高级用户",
        Role::Normal => "普通用户",
        Role::Guest => "访客",
        Role::Blocked => "已屏蔽",
    }
}

fn idle_words(minutes: u32) -> String {
    match minutes {
        0 => "刚刚还在聊".to_owned(),
        minutes => format!("{minutes} 分钟没说话"),
    }
}

fn owner_status(status: &OwnerStatus<'_>) -> String {
    let mut text = format!(
        "svs-bot {}，已运行 {}\n内存 {}，数据库 {}\n待回答 {}，待发送 {}，会话 {}\n群聊席位 {}/{}\n密钥 {}/{} 可用\n今日回答 {} 次，{} 词元",
        status.version,
        status.uptime,
        status.memory,
        status.database,
        status.inbox,
        status.outbox,
        status.sessions,
        status.vip.0,
        status.vip.1,
        status.keys.0,
        status.keys.1,
        status.answers_today,
        status.tokens_today,
    );
    match (status.sync_pending, status.sync_last) {
        (None, _) => text.push_str("\n同步：未设置，数据只在本机"),
        (Some(rows), Some(last)) => {
            text.push_str(&format!("\n同步：待发送 {rows} 条，上次成功在 {last}前"))
        }
        (Some(rows), None) => text.push_str(&format!("\n同步：待发送 {rows} 条，还没有成功过")),
    }
    if let Some(trouble) = status.trouble {
        text.push_str(&format!("\n⚠️ {trouble}"));
    }
    text
}

fn refusal(kind: Refusal) -> &'static str {
    match kind {
        Refusal::Safety => "这个话题触发了模型的安全限制，我没法回答。换个问法，或聊点别的吧。",
        Refusal::Prohibited => "这个内容属于模型明确禁止回答的范围，我帮不上忙。我们聊点别的吧。",
        Refusal::Terms => "消息里有模型不接受的词语。请换一种说法再试。",
        Refusal::Recitation => {
            "这样回答会大段照搬受版权保护的原文，所以被拦下了。可以请我概括或换个角度讲。"
        }
        Refusal::Personal => "回答涉及敏感的个人信息，被拦下了。请去掉个人信息后再问。",
        Refusal::Language => "模型暂时不支持这种语言。请换一种语言再问。",
        Refusal::Image => "这张图片触发了模型的安全限制，我没法处理。请换一张，或用文字描述。",
        Refusal::Jailbreak => "这条消息被当作绕过规则的尝试拦下了。请直接说出你想问的内容。",
        Refusal::Other => "模型拒绝回答这个问题，也没有说明具体原因。请换个说法再试。",
    }
}

/// Google's reason to refuse a key for good.
fn refused_key(word: &str) -> &str {
    match word {
        "invalid" => "密钥无效",
        "leaked" => "密钥已被报告泄露",
        "expired" => "密钥已过期",
        "retired" => "Google 已不再接受这种旧密钥",
        "suspended" => "所属项目已被封停",
        "disabled" => "所属项目没有启用 Gemini API",
        "blocked" => "密钥的限制不允许从这里使用 Gemini API",
        other => other,
    }
}
