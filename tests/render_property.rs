//! Whatever the model says, Telegram takes every part, and the parts together say the same.
//!
//! The judge is a parser of Telegram's HTML written for this test from the rules alone (api-reference
//! A9), not from the renderer.
#[path = "support/telegram_html.rs"]
mod telegram_html;

use nanorand::{Rng, WyRand};
use svs_bot::engine::render::render;
use telegram_html::{check, judge, parse};

const PIECES: &[&str] = &[
    "*",
    "**",
    "***",
    "_",
    "__",
    "~~",
    "~",
    "`",
    "``",
    "```",
    "```rust\n",
    "~~~\n",
    "||",
    "|",
    "\n",
    "\n\n",
    "\n\n\n",
    " ",
    "  ",
    "    ",
    "\t",
    "- ",
    "* ",
    "1. ",
    "999999999. ",
    "> ",
    ">> ",
    "# ",
    "###### ",
    "---\n",
    "===\n",
    "[",
    "](",
    ")",
    "](https://ex.org/a?b=1&c=2)",
    "](tg://user?id=1)",
    "](javascript:alert(1))",
    "![",
    "]",
    "[a](https://e.co)",
    "[ref]: https://ref.org/x\n",
    "[ref]",
    "<",
    ">",
    "</",
    "<b>",
    "</b>",
    "<tg-button>",
    "<br>",
    "<script>alert(1)</script>",
    "<!-- x -->",
    "<a href=\"tg://x\">",
    "<https://auto.link>",
    "&",
    "&amp;",
    "&lt;",
    "&#60;",
    "&#x202e;",
    "&nbsp;",
    "\\",
    "\\*",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "$",
    "$$",
    "$x_1^2$",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n",
    "|-|-|\n",
    "- [ ] ",
    "- [x] ",
    "word",
    "Hello, world!",
    "你好，世界。",
    "“引号”",
    "中文",
    "العربية",
    "עברית",
    "👨‍👩‍👧‍👦",
    "🇩🇪🇫🇷",
    "🏳️‍🌈",
    "e\u{301}",
    "\u{300}\u{301}\u{302}",
    "\u{200b}",
    "\u{200d}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{0}",
    "\r\n",
    "\u{7}",
    "\u{10ffff}",
    "\u{fffd}",
    "a||b",
    "0",
    ".",
    "\"",
    "'",
    "=",
    "+",
    "C++",
    "x < y && y > z",
    "@name",
    "/cmd",
    "#tag",
];

fn soup(dice: &mut WyRand) -> String {
    let pieces = [3, 30, 300, 1500][dice.generate_range(0_usize..4)];
    let few = 1 + dice.generate_range(0_usize..PIECES.len());
    let from = dice.generate_range(0_usize..PIECES.len());
    let mut text = String::new();
    for _ in 0..pieces {
        let pick = (from + dice.generate_range(0..few)) % PIECES.len();
        let times = if dice.generate_range(0_u32..40) == 0 { 60 } else { 1 };
        for _ in 0..times {
            text.push_str(PIECES[pick]);
        }
        if dice.generate_range(0_u32..6) == 0 {
            text.extend(char::from_u32(dice.generate_range(0_u32..0x11_0000)));
        }
    }
    text
}

#[test]
fn soups_of_markdown_and_unicode_are_taken_whole() {
    for seed in 0..120_u64 {
        let text = soup(&mut WyRand::new_seed(seed));
        check(&text, &format!("seed {seed}"));
    }
}

#[test]
fn floods_are_taken_whole_in_linear_time() {
    let of = |unit: &str, size: usize| unit.repeat(size / unit.len());
    let nested: String = (0..300).map(|depth| format!("{}- x\n", "  ".repeat(depth))).collect();
    let cases = [
        ("backticks", of("`", 80_000)),
        ("backticks of growing length", (1..600).map(|n| "`".repeat(n) + " ").collect()),
        ("quotes on one line", of(">", 10_000) + " x"),
        ("quotes on many lines", of(">>>>>>>>>>>>>>>>>>>> x\n", 50_000)),
        ("lazy quotes", of(">", 2_000) + &of("x\n", 60_000)),
        ("stars", of("*", 80_000)),
        ("stars and words", of("*a **b ", 50_000)),
        ("closed stars", of("*a*b", 50_000)),
        ("brackets", of("[", 50_000)),
        ("images", of("![a](", 50_000)),
        ("links", of("[a](https://e.co/x) ", 80_000)),
        (
            "a much used reference",
            format!("[r]: https://e.co/{}\n\n{}", of("y", 1900), of("[r] ", 20_000)),
        ),
        ("bullets on one line", of("- ", 60_000) + "x"),
        ("nested bullets", nested),
        ("combining signs", format!("a{}", of("\u{301}", 80_000))),
        ("joiners", of("\u{200d}", 80_000)),
        ("joined emoji", of("👨\u{200d}", 50_000)),
        ("flags", of("🇩", 50_000)),
        ("spoilers", of("||a", 50_000)),
        ("open tags", of("<a", 50_000)),
        ("comments", of("<!-- ", 50_000)),
        ("dollars", of("$x_", 50_000)),
        ("backslashes", of("\\(", 50_000)),
        (
            "a wide table",
            format!("|{}\n|{}\n{}", of("a|", 4_000), of("-|", 4_000), of("|\n", 60_000)),
        ),
        ("one long cell", format!("|{}|b|\n|-|-|\n{}", of("w", 5_000), of("|a|b|\n", 50_000))),
        ("ampersands", of("&", 50_000)),
        ("an endless word", of("字", 50_000)),
        ("tabs in code", format!("```\n{}", of("\t", 80_000))),
        ("newlines", of("\n", 80_000)),
        ("definitions", (0..5000).map(|n| format!("[{n}]: /x\n")).collect()),
    ];
    for (name, text) in cases {
        check(&text, name);
    }
    for unit in ["`", "\u{301}", "*a*", "[a](", "> "] {
        render(&of(unit, 1_000_000), None).iter().for_each(|part| judge(part, unit));
    }
}

#[test]
fn the_judge_knows_bad_html() {
    for bad in
        ["<b>x", "a < b", "<p>x</p>", "<b><i>x</b></i>", "x</b>", "<br/>", "<a href=\"x>", "a <"]
    {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let parsed = parse("<b>a&lt;&#65;&nbsp;</b>").unwrap();
    assert_eq!((parsed.text.as_str(), parsed.entities.len()), ("a<A&nbsp;", 1));
}
