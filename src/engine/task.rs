//! Owns: which model tier a message deserves, judged from its text, media, place and asker.
//! May not: call a model, choose a key, look at quotas.
//!
//! The rule, in order:
//! 1. A guest gets *lite*.
//! 2. The text is *complex* when it asks for a proof, a derivation or an architecture, holds long
//!    code (30 lines in fences) or two of these: several numbered steps, "step by step", a
//!    comparison or analysis in depth, refactoring or optimising, any code, 600 characters.
//!    It is a *plain task* when it asks to translate, summarise, explain, write, calculate, correct,
//!    or is about code; when it is longer than 200 characters; or when something is to be looked at
//!    or listened to. Everything else is chat.
//! 3. Alone with the bot: complex → *pro* for owner, vip and premium, *flash* for normal; plain task
//!    → *flash*; chat → *lite*. In a group everything is one step lower, because groups are talk.
//!
//! What a tier's quota cannot bear is not decided here: the pool steps down before it ends.

use crate::types::{Role, Tier};

/// Characters looked at; a longer text is a task by its length alone.
const LOOK_CHARS_MAX: usize = 8_192;
/// From here on a text is more than talk.
const TASK_CHARS: usize = 200;
/// From here on it is one sign of complexity.
const LONG_CHARS: usize = 600;
/// Lines of code that are complex by themselves.
const LONG_CODE_LINES: usize = 30;
/// Numbered lines that make several steps.
const STEPS: usize = 3;
/// Signs of complexity that together make a text complex.
const SIGNS: usize = 2;

/// Asking for one of these is complex. Latin words count whole, Chinese ones anywhere.
const COMPLEX: &[&str] = &[
    "prove",
    "proof",
    "derive",
    "derivation",
    "theorem",
    "architecture",
    "system design",
    "求证",
    "请证明",
    "试证明",
    "证明下列",
    "证明以下",
    "证明：",
    "证明:",
    "推导",
    "定理",
    "系统架构",
    "架构设计",
    "系统设计",
    "求證",
    "請證明",
    "推導",
    "系統架構",
    "架構設計",
    "系統設計",
];
/// Each group is one sign of complexity.
const SIGN_WORDS: &[&[&str]] = &[
    &["step by step", "step-by-step", "一步一步", "一步步", "逐步", "分步骤", "分步驟"],
    &[
        "in depth",
        "in-depth",
        "trade-offs",
        "tradeoffs",
        "compare",
        "comparison",
        "深入",
        "详细分析",
        "詳細分析",
        "对比",
        "對比",
        "优缺点",
        "優缺點",
        "利弊",
    ],
    &[
        "refactor",
        "optimise",
        "optimize",
        "redesign",
        "implement",
        "重构",
        "重構",
        "优化",
        "優化",
        "实现一个",
        "實現一個",
        "algorithm",
        "算法",
    ],
];
/// Asking for one of these is a plain task.
const PLAIN: &[&str] = &[
    "translate",
    "translation",
    "summarise",
    "summarize",
    "summary",
    "tl;dr",
    "explain",
    "describe",
    "write",
    "rewrite",
    "draft",
    "calculate",
    "compute",
    "solve",
    "convert",
    "fix",
    "correct",
    "proofread",
    "list",
    "compare",
    "plan",
    "outline",
    "code",
    "function",
    "regex",
    "sql",
    "script",
    "error",
    "bug",
    "exception",
    "compile",
    "python",
    "javascript",
    "typescript",
    "java",
    "rust",
    "golang",
    "bash",
    "html",
    "css",
    "json",
    "docker",
    "linux",
    "git",
    "how does",
    "how do i",
    "how to",
    "what is the difference",
    "翻译",
    "翻譯",
    "译成",
    "譯成",
    "总结",
    "總結",
    "概括",
    "摘要",
    "归纳",
    "歸納",
    "解释",
    "解釋",
    "说明",
    "說明",
    "什么意思",
    "什麼意思",
    "什么区别",
    "什麼區別",
    "原理",
    "写一",
    "寫一",
    "写个",
    "寫個",
    "写段",
    "写篇",
    "帮我写",
    "幫我寫",
    "改写",
    "改寫",
    "润色",
    "潤色",
    "计算",
    "計算",
    "算一下",
    "解方程",
    "代码",
    "代碼",
    "程序",
    "程式",
    "函数",
    "函數",
    "报错",
    "報錯",
    "脚本",
    "腳本",
    "正则",
    "正則",
    "编程",
    "編程",
    "如何",
    "怎么做",
    "怎麼做",
    "怎么写",
    "怎么用",
    "列出",
    "制定",
    "计划",
    "計劃",
    "方案",
    "对比",
    "對比",
    "分析",
];

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Chat,
    Plain,
    Complex,
}

/// The tier of a message: its text or caption, whether media comes with it, whose it is, and whether
/// it stands in a group. Costs no call and, whatever the text, at most microseconds per kilobyte.
pub fn tier(text: &str, media: bool, role: Role, in_group: bool) -> Tier {
    let may_pro = match role {
        Role::Owner | Role::Vip | Role::Premium => true,
        Role::Normal => false,
        Role::Guest | Role::Blocked => return Tier::Lite,
    };
    let mut weight = weigh(text);
    if media {
        weight = weight.max(Weight::Plain);
    }
    match (weight, in_group) {
        (Weight::Complex, false) if may_pro => Tier::Pro,
        (Weight::Complex, _) if in_group && !may_pro => Tier::Lite,
        (Weight::Complex, _) | (Weight::Plain, false) => Tier::Flash,
        (Weight::Plain, true) | (Weight::Chat, _) => Tier::Lite,
    }
}

fn weigh(text: &str) -> Weight {
    let folded: String = text.chars().take(LOOK_CHARS_MAX).flat_map(char::to_lowercase).collect();
    let length = folded.chars().count();
    let code = code_lines(&folded);
    let complex_word = has_any(&folded, COMPLEX) || folded.trim_start().starts_with("证明");
    if complex_word || code >= LONG_CODE_LINES {
        return Weight::Complex;
    }
    let mut signs = SIGN_WORDS.iter().filter(|words| has_any(&folded, words)).count();
    signs += usize::from(length >= LONG_CHARS);
    signs += usize::from(code > 0);
    signs += usize::from(numbered_lines(&folded) >= STEPS);
    if signs >= SIGNS {
        return Weight::Complex;
    }
    if signs > 0 || length >= TASK_CHARS || has_any(&folded, PLAIN) {
        Weight::Plain
    } else {
        Weight::Chat
    }
}

fn has_any(text: &str, words: &[&str]) -> bool {
    // Most questions are short, and a search costs some hundred instructions before its first comparison.
    let mut fitting = words.iter().filter(|word| word.len() <= text.len());
    fitting.any(|word| if word.is_ascii() { has_word(text, word) } else { text.contains(word) })
}

/// Whether a Latin word stands in the text as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, found)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_letter) && !after.is_some_and(is_letter)
    })
}

/// Lines between code fences; an unclosed fence counts to the end.
fn code_lines(text: &str) -> usize {
    let mut inside = false;
    let mut count = 0;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            count += 1;
        }
    }
    count
}

/// Lines like `1. …`, `2) …`, `3、…`.
fn numbered_lines(text: &str) -> usize {
    let numbered = |line: &&str| {
        let rest = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() < line.trim_start().len() && rest.starts_with(['.', ')', '、', '．', '）'])
    };
    text.lines().filter(numbered).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Guest, Normal, Owner, Premium, Vip};
    use Tier::{Flash, Lite, Pro};

    fn check(text: &str, cases: &[(Role, bool, Tier)]) {
        for (role, in_group, want) in cases {
            assert_eq!(
                tier(text, false, *role, *in_group),
                *want,
                "{text:?} {role:?} group {in_group}"
            );
        }
    }

    #[test]
    fn talk_is_lite_for_everybody() {
        for text in [
            "",
            "hi",
            "你好呀",
            "how are you today?",
            "在吗",
            "今天天气怎么样",
            "good night!",
            "讲个笑话",
            "谢谢啦",
            "what's your name",
            "I improved my planet",
            "身份证明丢了",
            "你是谁",
        ] {
            check(
                text,
                &[
                    (Owner, false, Lite),
                    (Normal, false, Lite),
                    (Guest, false, Lite),
                    (Vip, true, Lite),
                ],
            );
        }
    }

    #[test]
    fn a_plain_task_is_flash_in_private_and_lite_in_groups() {
        for text in [
            "Translate 'good morning' to French",
            "翻译：good morning",
            "please summarise this article",
            "总结一下这段话",
            "explain photosynthesis",
            "解释一下量子纠缠",
            "Why does this Rust function not compile?",
            "这段代码报错了",
            "写一首关于秋天的诗",
            "How to install Docker",
            "如何学习吉他",
            "計算 12*34",
            "Fix my grammar: he go home",
        ] {
            check(
                text,
                &[
                    (Owner, false, Flash),
                    (Normal, false, Flash),
                    (Guest, false, Lite),
                    (Vip, true, Lite),
                ],
            );
        }
    }

    #[test]
    fn a_complex_task_is_pro_for_those_who_may() {
        let code =
            format!("what is wrong?\n```rust\n{}```", "let x = 1;\n".repeat(LONG_CODE_LINES));
        let steps =
            "Please do this step by step:\n1. read the file\n2. group the rows\n3. draw a chart";
        let chinese = "请逐步完成：\n1、读取数据\n2、清洗数据\n3、画图";
        for text in [
            "Prove that the square root of 2 is irrational",
            "证明根号2是无理数",
            "请证明勾股定理",
            "推導歐拉公式",
            "Design the architecture of a chat server",
            "帮我做一个秒杀系统的架构设计",
            steps,
            chinese,
            code.as_str(),
            "Compare B-trees and LSM trees in depth and implement the better one",
            "深入分析并优化这个算法",
        ] {
            check(
                text,
                &[
                    (Owner, false, Pro),
                    (Vip, false, Pro),
                    (Premium, false, Pro),
                    (Normal, false, Flash),
                    (Guest, false, Lite),
                    (Owner, true, Flash),
                    (Normal, true, Lite),
                ],
            );
        }
    }

    #[test]
    fn length_and_media_make_a_task() {
        check(&"啦".repeat(TASK_CHARS - 1), &[(Normal, false, Lite)]);
        check(&"啦".repeat(TASK_CHARS), &[(Normal, false, Flash)]);
        assert_eq!(tier("", true, Normal, false), Flash);
        assert_eq!(tier("", true, Normal, true), Lite);
        assert_eq!(tier("", true, Guest, false), Lite);
    }

    #[test]
    fn a_huge_text_is_looked_at_only_in_its_beginning() {
        let text = format!("{}证明：", "啊".repeat(LOOK_CHARS_MAX));
        assert_eq!(tier(&text, false, Owner, false), Flash);
        assert_eq!(tier(&"```\n".repeat(100_000), false, Owner, false), Flash);
    }
}
