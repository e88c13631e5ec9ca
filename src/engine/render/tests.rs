//! Markdown in, HTML out.

use super::{plain_text, render};

fn check(markdown: &str, html: &str) {
    let parts = render(markdown, None);
    let got: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    assert_eq!(got, vec![html], "{markdown:?}");
    assert_eq!(parts[0].plain, plain_text(markdown).trim(), "{markdown:?}");
}

#[test]
fn a_smoke() {
    for md in [
        "# T\n\nhello **b** *i* `c<` ~~s~~",
        "- a\n  - b\n- c\n\n1. x\n2. y",
        "> q\n> > r\n\n```rust\nfn x() {}\n```",
        "| a | 中文 |\n|---|---:|\n| x | y |",
        "**“你好。”**说 ||spoil **x**|| 5~10, 3~4 $a_1*b*$ \\(x_1*y*\\)",
        "[x](https://a.b/c?x=1&y=2) [m](mailto:a@b.c) [t](tg://x) ![](https://a.b/i.png)",
        "<b>x</b><br>y\n\n<div>\n*z*\n</div>\n\nend",
    ] {
        eprintln!("{md}\n=> {:#?}", render(md, Some("@n, 2/5")));
    }
    check("a", "a");
}
