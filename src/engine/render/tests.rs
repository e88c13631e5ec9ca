//! Markdown in, HTML out.

use super::{
    PART_UNITS_MAX, escape_html, live_preview, plain_text, render, render_plain, rich_markdown,
    split,
};

fn check(cases: &[(&str, &str)]) {
    for (markdown, html) in cases {
        let parts = render(markdown, None);
        let got: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        assert_eq!(got, vec![*html], "{markdown:?}");
        assert_eq!(parts[0].plain.trim(), plain_text(markdown).trim(), "{markdown:?}");
    }
}

#[test]
fn inline_formatting_becomes_tags() {
    check(&[
        ("**b** *i* ~~s~~ `c<`", "<b>b</b> <i>i</i> <s>s</s> <code>c&lt;</code>"),
        ("**a *b* c**", "<b>a <i>b</i> c</b>"),
        ("***x***", "<b><i>x</i></b>"),
        ("**use `f()` now**", "<b>use </b><code>f()</code><b> now</b>"),
        ("||a **b**||", "<tg-spoiler>a <b>b</b></tg-spoiler>"),
        ("if a || b || c", "if a || b || c"),
        ("a||b||c", "a||b||c"),
        ("`||x||`", "<code>||x||</code>"),
        ("5~10 元，3~4 天", "5~10 元，3~4 天"),
        ("**“你好。”**他说", "<b>“你好。”</b>他说"),
        (r"\*\*not bold\*\*", "**not bold**"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("line one\nline two", "line one\nline two"),
        ("hard  \nbreak<br>tag", "hard\nbreak\ntag"),
        ("a &amp; b &lt;i&gt;", "a &amp; b &lt;i&gt;"),
    ]);
}

#[test]
fn blocks_become_lines() {
    check(&[
        ("# Head\ntext", "<b>Head</b>\n\ntext"),
        ("- a\n  - b\n    - c\n- d", "• a\n  ◦ b\n    ▪ c\n• d"),
        ("3. x\n4. y\n   - z", "3. x\n4. y\n  ◦ z"),
        ("- [x] done\n- [ ] open", "☑ done\n☐ open"),
        ("- a\n\n- b", "• a\n\n• b"),
        ("- - - a", "• ◦ ▪ a"),
        ("> q\n> > r\n\nafter", "<blockquote>q\n\nr</blockquote>\n\nafter"),
        (
            "> a\n\n<!-- -->\n\n> b",
            "<blockquote>a</blockquote>\n\n&lt;!-- --&gt;\n\n<blockquote>b</blockquote>",
        ),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        (
            "```rust\nfn x() {\n\n    1 < 2\n}\n```",
            "<pre><code class=\"language-rust\">fn x() {\n\n    1 &lt; 2\n}</code></pre>",
        ),
        ("```\n\tx\n```", "<pre>    x</pre>"),
        ("```\"><b>\nx\n```", "<pre>x</pre>"),
        ("```py\nunclosed", "<pre><code class=\"language-py\">unclosed</code></pre>"),
        ("- a\n\n  > q\n  > - b", "• a\n\n<blockquote>q\n\n◦ b</blockquote>"),
        ("> ```\n> x\n> ```", "<blockquote><pre>x</pre></blockquote>"),
        ("    只是缩进的一段话", "只是缩进的一段话"),
        ("    let x = 1;", "<pre>let x = 1;</pre>"),
    ]);
}

#[test]
fn tables_are_aligned_by_display_width() {
    check(&[
        (
            "| 名字 | n |\n|:--|--:|\n| 小爱 | 7 |\n| x | 10 |",
            "<pre>名字 |  n\n-----+---\n小爱 |  7\nx    | 10</pre>",
        ),
        ("| a | b |\n|-|-|\n| 👨‍👩‍👧 | `x<y` |", "<pre>a  | b\n---+----\n👨‍👩‍👧 | x&lt;y</pre>"),
    ]);
}

#[test]
fn links_are_kept_only_where_harmless_and_taken() {
    check(&[
        ("[x](https://a.b/?q=1&r=\"2\")", "<a href=\"https://a.b/?q=1&amp;r=&quot;2&quot;\">x</a>"),
        ("[x](tg://user?id=1) [y](javascript:alert(1)) [z](/rel)", "x y z"),
        ("[mail](mailto:a@b.c) [call](tel:+123)", "mail (a@b.c) call (+123)"),
        ("[here](http://localhost:80/)", "here (http://localhost:80/)"),
        ("![cat](https://a.b/c.png)", "<a href=\"https://a.b/c.png\">cat</a>"),
        ("![](https://a.b/c.png)", "<a href=\"https://a.b/c.png\">https://a.b/c.png</a>"),
        ("[`f`](https://a.b)", "<a href=\"https://a.b\">f</a>"),
        ("<https://a.b> <a@b.c>", "https://a.b a@b.c"),
        ("[![b](https://i.b/x)](https://a.b)", "<a href=\"https://a.b\">b</a>"),
    ]);
}

#[test]
fn nothing_of_the_model_breaks_out() {
    check(&[
        ("<b>x</b> <tg-button>", "&lt;b&gt;x&lt;/b&gt; &lt;tg-button&gt;"),
        ("<script>\nalert(1)\n</script>\n\nok", "&lt;script&gt;\nalert(1)\n&lt;/script&gt;\n\nok"),
        ("a\u{202e}b\u{1}c", "ab c"),
    ]);
}

#[test]
fn mathematics_stays_as_written() {
    check(&[
        (r"\(a_1 * b_2 * c\)", r"\(a_1 * b_2 * c\)"),
        (r"\[ \frac{a}{b} \\ x \]", r"\[ \frac{a}{b} \\ x \]"),
        ("$a_i * b_j * c$ and $$x * y * z$$", "$a_i * b_j * c$ and $$x * y * z$$"),
        ("costs $5, **not** $6", "costs $5, <b>not</b> $6"),
        (r"`\(x\)` \(y\)", r"<code>\(x\)</code> \(y\)"),
        ("$||v||$", "$||v||$"),
    ]);
}

#[test]
fn the_header_stands_in_the_first_part_alone() {
    let long = "word ".repeat(2000);
    let parts = render(&long, Some("@a<b\n, 2/5"));
    assert!(parts[0].text.starts_with("@a&lt;b , 2/5\n\nword"), "{}", parts[0].text);
    assert!(parts[1].text.starts_with("word"));
    assert_eq!(render("", Some("@a")).len(), 1);
    assert_eq!(render(" \u{200b}\n", None), vec![]);
}

#[test]
fn formatting_goes_on_after_a_cut() {
    let code = format!("**{}粗**\n```py\n{}```", "粗 ".repeat(3000), "x = 1\n".repeat(1500));
    let parts = render(&code, None);
    assert!(parts.len() >= 4);
    for part in &parts {
        assert!(split::units(&part.plain) <= PART_UNITS_MAX);
        assert!(
            part.text.starts_with("<b>")
                || part.text.starts_with("<pre><code class=\"language-py\">")
        );
        assert!(part.text.ends_with("</b>") || part.text.ends_with("</code></pre>"));
    }
}

#[test]
fn cuts_prefer_paragraphs_then_lines_then_words() {
    let cases = [
        (format!("{}\n\n{}", "a b ".repeat(700), "c\nd ".repeat(700)), "c\nd"),
        (format!("{}\n{}", "a b ".repeat(700), "c d ".repeat(700)), "c d"),
        (format!("{} {}", "a".repeat(3000), "b".repeat(3000)), "bbb"),
        (format!("{}。{}", "一".repeat(3000), "二".repeat(3000)), "二二"),
    ];
    for (text, second) in cases {
        let parts = render(&text, None);
        assert!(parts[1].plain.starts_with(second), "{:?}", parts[1].plain);
    }
}

#[test]
fn notices_are_sent_without_markup() {
    let parts = render_plain("a <b> & *c*");
    assert_eq!((parts[0].text.as_str(), parts[0].html), ("a <b> & *c*", false));
    assert_eq!(escape_html("<a&\">"), "&lt;a&amp;&quot;&gt;");
}

#[test]
fn a_growing_answer_looks_finished() {
    for (so_far, html) in [
        ("", "…"),
        ("**bol", "<b>bol</b>"),
        ("**bold*", "<b>bold</b>"),
        ("a **", "a"),
        ("- **k**: `va", "• <b>k</b>: <code>va</code>"),
        ("text `", "text"),
        ("```py\nx = 1\n``", "<pre><code class=\"language-py\">x = 1</code></pre>"),
        ("```py\nx = \"**", "<pre><code class=\"language-py\">x = &quot;**</code></pre>"),
        ("Title\n--", "Title"),
        ("list\n1.", "list"),
        ("see [the doc](https://a.", "see the doc"),
        ("see [the d", "see the d"),
        ("**a *b", "<b>a <i>b</i></b>"),
        ("snake_case_na", "snake_case_na"),
        ("||hid", "<tg-spoiler>hid</tg-spoiler>"),
    ] {
        assert_eq!(live_preview(so_far, None).text, html, "{so_far:?}");
    }
    let long = format!("```rs\n{}", "let x = 1;\n".repeat(4000));
    let part = live_preview(&long, Some("@n, 1/5"));
    assert!(
        part.text.starts_with("@n, 1/5\n\n…\n\n<pre><code class=\"language-rs\">let"),
        "{}",
        part.text
    );
    assert!(3000 < split::units(&part.plain) && split::units(&part.plain) <= PART_UNITS_MAX);
}

#[test]
fn rich_messages_keep_structure_and_no_html() {
    for (markdown, rich) in [
        ("# T\n\n**b** *i* `c`", "# T\n\n**b** *i* `c`"),
        ("- a\n  - b\n- c\n\nend", "- a\n  - b\n- c\n\nend"),
        ("1. x\n2. y", "1. x\n2. y"),
        ("- [x] done", "- [x] done"),
        ("> q\n>\n> r", "> q\n> \n> r"),
        ("|a|b|\n|-|:-:|\n|1|`x\\|y`|", "| a | b |\n| --- | :-: |\n| 1 | `x\\|y` |"),
        ("```rs\na < b\n```", "```rs\na < b\n```"),
        ("````\n```\n````", "````\n```\n````"),
        (
            "<tg-button url=\"x\">go</tg-button>",
            "&lt;tg\\-button url\\=\"x\"&gt;go&lt;/tg\\-button&gt;",
        ),
        ("&lt;b&gt;", "&lt;b&gt;"),
        ("\\<b>", "&lt;b&gt;"),
        ("a ` <b>", "a \\` &lt;b&gt;"),
        ("$x^2$ and $5", "$x^2$ and \\$5"),
        ("$a<b$", "\\$a&lt;b\\$"),
        ("[x](https://a.b/?a=1&b=(2))", "[x](https://a.b/?a=1&amp;b=%282%29)"),
        ("[x](tg://user?id=1) ![p](https://a.b/c.png)", "x [p](https://a.b/c.png)"),
        ("5~10 3~4", "5\\~10 3\\~4"),
        ("**问：**怎么 `**a：**b`", "**问**：怎么 `**a：**b`"),
        ("他说**“好。”**然后", "他说“**好**。”然后"),
        (r"\(a_1\) and \[x\, y\]", r"$a_1$ and $$x\, y$$"),
    ] {
        assert_eq!(rich_markdown(markdown).as_deref(), Some(rich), "{markdown:?}");
    }
    for (name, markdown) in [
        ("empty", String::new()),
        ("long", "x".repeat(32_769)),
        ("deep", "> ".repeat(20) + "x"),
        ("wide", format!("|{}\n|{}\n", "a|".repeat(21), "-|".repeat(21))),
        ("many blocks", "x\n\n".repeat(500)),
    ] {
        assert_eq!(rich_markdown(&markdown), None, "{name}");
    }
}
