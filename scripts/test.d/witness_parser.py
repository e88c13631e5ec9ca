#!/usr/bin/env python3
"""Telegram's own parser (tdjson) as a witness.

1. The stand-in's HTML parser and tdjson agree on a corpus and on generated texts: the same error,
   or the same text and entities.
2. With --journal FILE: every text that the bot sent with parse_mode HTML parses in tdjson.

Needs: pip install tdjson==1.8.69
"""

import argparse
import json
import random
import sys

import tdjson
from standin import StandIn, post

KINDS = {
    "textEntityTypeBold": "bold",
    "textEntityTypeItalic": "italic",
    "textEntityTypeUnderline": "underline",
    "textEntityTypeStrikethrough": "strikethrough",
    "textEntityTypeSpoiler": "spoiler",
    "textEntityTypeCode": "code",
    "textEntityTypePre": "pre",
    "textEntityTypePreCode": "pre",
    "textEntityTypeBlockQuote": "blockquote",
    "textEntityTypeExpandableBlockQuote": "expandable_blockquote",
    "textEntityTypeTextUrl": "text_link",
    "textEntityTypeMentionName": "text_mention",
    "textEntityTypeCustomEmoji": "custom_emoji",
    "textEntityTypeDateTime": "date_time",
}

CORPUS = """
plain
<b>bold</b> <i>it</i> <u>un</u> <s>st</s> <tg-spoiler>sp</tg-spoiler>
<strong>a</strong><em>b</em><ins>c</ins><strike>d</strike><del>e</del>
<span class="tg-spoiler">x</span>
<span class=tg-spoiler>x</span>
<span>x</span>
<span class="other">x</span>
<a href="https://example.org/a?b=c&amp;d=e">link</a>
<a href="example.org">link</a>
<a href='HTTP://EXAMPLE.org'>link</a>
<a href="tg://user?id=42">someone</a>
<a href="nonsense">link</a>
<a>https://example.org</a>
<a href="javascript:alert(1)">x</a>
<a href="http://localhost/">x</a>
<a href=example.org>x</a>
<a href=https://example.org>x</a>
<code>x</code>
<code class="language-rust">x</code>
<pre>x</pre>
<pre><code>x</code></pre>
<pre><code class="language-rust">fn main() {}</code></pre>
<code class="language-c"><pre>x</pre></code>
<pre><code class="language-rust">fn</code> main</pre>
<blockquote>q</blockquote>
<blockquote expandable>q</blockquote>
<blockquote expandable="">q</blockquote>
<blockquote expandable=1>q</blockquote>
<tg-emoji emoji-id="5368324170671202286">x</tg-emoji>
<tg-emoji emoji-id="x">x</tg-emoji>
<b>a<i>b</b>c</i>
<b>a
</b>
</>
<b>a</>
<b>a</ >
<b>a</b >
<b>a</b x>
a < b
a<b
a <b
<b
<b a
<b a=
<b a="
<b a="x
<b a="x"
<b =x>y</b>
<b a>y</b>
<b a b>y</b>
<b a=x/>y</b>
<b a=x y=z>w</b>
<b a = "x" >y</b>
<b/>x
<b / >x</b>
<br>
<br/>
<p>x</p>
<!-- x -->
<B>x</B>
<b></b>
<b> </b>
&lt;&gt;&amp;&quot;&apos;&nbsp;
&lt &gt &ampx
&#65;&#x41;&#X41;&#128512;&#x1F600;&#0;&#1114111;&#99999999;&#xD83D;
&#55357;&#56832;
&;&#;&#x;&
😀<b>😀x</b>😀<i>你好</i>
<b>1<i>2<u>3</u></i></b>
<b><b>x</b></b>
<i>😀</i><i>x</i>
<tg-spoiler><b>x</b></tg-spoiler>
a &amp;lt; b
"quoted" 'single'
<a href="https://example.org/&quot;x&quot;">x</a>
<a href="https://example.org" title="y">x</a>
<a title="y" href="https://example.org">x</a>
<a href="a"b="c">x</a>
<u>x</u></u>
<unknown attr="1">x</unknown>
< b>x</b>
<1>
<b>x</B>
<tg-time unix="1647531900">x</tg-time>
<tg-time unix="1647531900" format="r">x</tg-time>
<tg-time unix="x">x</tg-time>
<tg-time>x</tg-time>
""".strip("\n").split("\n")

ATOMS = [
    "<b>", "</b>", "<i>", "</i>", "<u>", "</u>", "<s>", "</s>", "<code>", "</code>", "<pre>",
    "</pre>", "<blockquote>", "</blockquote>", "<blockquote expandable>", "<tg-spoiler>",
    "</tg-spoiler>", "<span class=\"tg-spoiler\">", "</span>", "<a href=\"https://e.org/\">",
    "</a>", "</>", "<code class=\"language-x\">", "<", ">", "/", "&", "&lt;", "&amp", "&#65;",
    "&#x1f600;", "&quot;", "\"", "'", "=", " ", "\n", "\t", "a", "b", "<br>", "é", "你", "😀",
    "<b", "</b", "<a href=", "x=\"y\"", "tg-",
]


def balanced(dice, depth=0):
    """A text that should parse."""
    words = ["a", "你好", "😀", " ", "\n", "&lt;", "&amp;x", "\"", "x y"]
    out = []
    for _ in range(dice.randint(1, 4)):
        if depth < 4 and dice.random() < 0.5:
            tag = dice.choice(["b", "i", "u", "s", "code", "pre", "blockquote", "tg-spoiler", "em"])
            out.append(f"<{tag}>{balanced(dice, depth + 1)}</{tag}>")
        else:
            out.append(dice.choice(words))
    return "".join(out)


def telegrams(text):
    """What tdjson makes of it."""
    query = {
        "@type": "parseTextEntities", "text": text, "parse_mode": {"@type": "textParseModeHTML"}
    }
    reply = json.loads(tdjson.td_execute(json.dumps(query).encode()))
    if reply["@type"] == "error":
        return {"error": reply["message"].removeprefix("Can't parse entities: ")}
    entities = []
    for entity in reply["entities"]:
        kind = entity["type"]
        found = [entity["offset"], entity["length"], KINDS.get(kind["@type"], kind["@type"])]
        for name in ("url", "language"):
            found += [kind[name]] if kind.get(name) else []
        entities.append(found)
    return {"text": reply["text"], "entities": sorted(entities)}


def ours(url, text):
    """What the stand-in makes of it."""
    _, reply = post(f"{url}/control/html", {"text": text})
    if "error" in reply:
        return reply
    entities = []
    for entity in reply["entities"]:
        found = [entity["offset"], entity["length"], entity["type"]]
        for name in ("url", "language"):
            found += [entity[name]] if entity.get(name) else []
        entities.append(found)
    return {"text": reply["text"], "entities": sorted(entities)}


def compare(url, count, seed):
    dice = random.Random(seed)
    texts = list(CORPUS)
    for number in range(count):
        if number % 3 == 0:
            texts.append(balanced(dice))
        else:
            texts.append("".join(dice.choices(ATOMS, k=dice.randint(1, 12))))
    bad = refused = 0
    for text in texts:
        wanted, found = telegrams(text), ours(url, text)
        refused += "error" in wanted
        if wanted != found:
            bad += 1
            if bad <= 20:
                print(f"differs: {text!r}\n  telegram {wanted}\n  stand-in {found}")
    print(f"parser: {len(texts)} texts (seed {seed}), {refused} refused by both, {bad} differ")
    return bad


def check_journal(path):
    bad = seen = 0
    for line in open(path, encoding="utf-8"):
        call = json.loads(line)
        request = call["request"] or {}
        if call["service"] != "telegram" or request.get("parse_mode", "").lower() != "html":
            continue
        for field in ("text", "caption"):
            if field not in request:
                continue
            seen += 1
            reply = telegrams(request[field])
            if "error" in reply:
                bad += 1
                print(f"telegram refuses: {reply['error']}: {request[field]!r}")
    print(f"journal: {seen} texts sent as HTML, {bad} that Telegram would refuse")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a running stand-in; else one is started")
    parser.add_argument("--journal", help="check what the bot sent")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    quiet = {"@type": "setLogVerbosityLevel", "new_verbosity_level": 0}
    tdjson.td_execute(json.dumps(quiet).encode())
    if args.journal:
        return check_journal(args.journal)
    if args.url:
        return compare(args.url, args.count, args.seed)
    with StandIn() as standin:
        return compare(standin.telegram, args.count, args.seed)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
