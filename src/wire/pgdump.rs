//! Owns: rows of the two tables out of a plain pg_dump, line by line: COPY blocks and INSERTs.
//! May not: hold more than one statement, or take a row whose line is cut.
//! Invariant: a dump that ends in the middle is an error, after every whole row before it.

use std::rc::Rc;

/// Longest line or statement; a row of PostgreSQL may be longer, a chat's never is.
pub const STATEMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The columns of the unchanged tables in their order, for INSERTs that name none.
const HISTORY: &[&str] = &[
    "id",
    "chat_id",
    "user_id",
    "username",
    "message_text",
    "response_text",
    "model_used",
    "metadata",
    "created_at",
];
const REGISTRY: &[&str] = &[
    "id",
    "user_id",
    "username",
    "first_name",
    "chat_id",
    "triggered_by_keyword",
    "trigger_count",
    "last_triggered_at",
    "created_at",
];

/// A row: its table's name, and its columns as text or null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpRow {
    /// `chat_history` or `user_registry`.
    pub table: &'static str,
    columns: Columns,
    values: Vec<Option<String>>,
}

/// The names of a block's columns, shared by its rows.
type Columns = Rc<[String]>;

impl DumpRow {
    /// Takes a column's text out; none when null, absent or taken.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.columns.iter().position(|column| column == name)?;
        self.values.get_mut(at)?.take()
    }
    /// Whether there is a value for each column.
    pub fn is_whole(&self) -> bool {
        self.columns.len() == self.values.len()
    }
}

/// Where the reader is.
#[derive(Debug, Default)]
enum Inside {
    #[default]
    Nothing,
    /// COPY of a table of ours, or of another (`None`).
    Copy(Option<(&'static str, Columns)>),
    /// An INSERT that goes on in the next line.
    Insert(String),
    /// CREATE TABLE of ours: its columns, so far.
    Create(&'static str, Vec<String>),
}

/// A plain dump while it is read.
#[derive(Debug, Default)]
pub struct Dump {
    inside: Inside,
    line: u64,
    created: Vec<(&'static str, Columns)>,
    complete: bool,
    seen: bool,
}

impl Dump {
    /// Takes the next line, without its end; whole rows go to `on`.
    ///
    /// # Errors
    /// Not a plain dump, or a statement that cannot be read: `line N: why`.
    pub fn line(&mut self, line: &str, on: &mut dyn FnMut(DumpRow)) -> Result<(), String> {
        self.line += 1;
        if self.line == 1 && line.starts_with("PGDMP") {
            return Err("it is a custom-format dump: make a plain one with `pg_restore --file out.sql`, or pg_dump --format plain".to_owned());
        }
        let inside = std::mem::take(&mut self.inside);
        self.inside = match inside {
            Inside::Nothing => self.outside(line, on)?,
            Inside::Copy(_) if line == "\\." => Inside::Nothing,
            Inside::Copy(None) => Inside::Copy(None),
            Inside::Copy(Some((table, columns))) => {
                let values = line.split('\t').map(copy_value).collect();
                on(DumpRow { table, columns: Rc::clone(&columns), values });
                Inside::Copy(Some((table, columns)))
            }
            Inside::Insert(mut statement) => {
                statement.push('\n');
                statement.push_str(line);
                self.insert(statement, on)?
            }
            Inside::Create(table, mut columns) => {
                if line.starts_with(')') {
                    self.created.push((table, columns.into()));
                    Inside::Nothing
                } else {
                    columns.extend(column_name(line));
                    Inside::Create(table, columns)
                }
            }
        };
        Ok(())
    }

    /// The end of the file.
    ///
    /// # Errors
    /// It ends in the middle, or is no dump at all.
    pub fn end(&self) -> Result<(), String> {
        let line = self.line;
        let what = match &self.inside {
            Inside::Copy(_) => "inside a COPY block",
            Inside::Insert(_) => "inside an INSERT",
            Inside::Create(..) => "inside a CREATE TABLE",
            Inside::Nothing if self.seen && !self.complete => "before its last line",
            Inside::Nothing if !self.seen => {
                return Err(
                    "it holds neither chat_history nor user_registry: is it a plain pg_dump of this database?".to_owned(),
                );
            }
            Inside::Nothing => return Ok(()),
        };
        Err(format!(
            "it ends {what}, at line {line}: the rows before are in; make the dump again and import it again"
        ))
    }

    fn outside(&mut self, line: &str, on: &mut dyn FnMut(DumpRow)) -> Result<Inside, String> {
        if line.starts_with("COPY ") && line.ends_with(" FROM stdin;") {
            let rest = line.trim_start_matches("COPY ");
            let columns = between_parens(rest).map(|text| text.split(',').map(unquoted).collect());
            let table = table_of(rest);
            self.seen |= table.is_some();
            let columns: Columns = columns.unwrap_or_default();
            return Ok(Inside::Copy(table.map(|table| (table, columns))));
        }
        if let Some(rest) = line.strip_prefix("INSERT INTO ") {
            // Other tables' INSERTs are read as well: their strings may span lines.
            self.seen |= table_of(rest).is_some();
            return self.insert(line.to_owned(), on);
        }
        if let Some(rest) = line.strip_prefix("CREATE TABLE ")
            && let Some(table) = table_of(rest.trim_start_matches("IF NOT EXISTS "))
        {
            self.seen = true;
            return Ok(Inside::Create(table, Vec::new()));
        }
        if let Some(encoding) = line.strip_prefix("SET client_encoding = ")
            && !encoding.trim_end_matches(';').trim_matches('\'').eq_ignore_ascii_case("UTF8")
        {
            return Err(format!(
                "line {}: its texts are not in UTF-8: make the dump with --encoding=UTF8",
                self.line
            ));
        }
        self.complete |= line.starts_with("-- PostgreSQL database dump complete");
        Ok(Inside::Nothing)
    }

    fn insert(&mut self, statement: String, on: &mut dyn FnMut(DumpRow)) -> Result<Inside, String> {
        if !is_ended(&statement) {
            if statement.len() > STATEMENT_BYTES_MAX {
                return Err(format!("line {}: a statement without an end", self.line));
            }
            return Ok(Inside::Insert(statement));
        }
        let rest = statement.trim_start_matches("INSERT INTO ");
        let Some(table) = table_of(rest) else { return Ok(Inside::Nothing) };
        let wrong = || format!("line {}: an INSERT that cannot be read", self.line);
        let (head, tail) = rest.split_once(" VALUES").ok_or_else(wrong)?;
        let columns = match between_parens(head) {
            Some(names) => names.split(',').map(unquoted).collect(),
            None => self.columns_of(table),
        };
        let mut rest = tail.trim_start();
        // Bounded: every turn takes a tuple off the statement.
        while rest.starts_with('(') {
            let (values, after) = tuple(rest).ok_or_else(wrong)?;
            on(DumpRow { table, columns: Rc::clone(&columns), values });
            rest = after.trim_start().trim_start_matches(',').trim_start();
        }
        Ok(Inside::Nothing)
    }

    fn columns_of(&self, table: &'static str) -> Columns {
        if let Some((_, columns)) = self.created.iter().find(|(name, _)| *name == table) {
            return Rc::clone(columns);
        }
        let known = if table == "chat_history" { HISTORY } else { REGISTRY };
        known.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// Which of the two tables a name like `public.chat_history` or `"public"."chat_history"` means.
fn table_of(text: &str) -> Option<&'static str> {
    let name = text.split([' ', '(']).next().unwrap_or_default();
    let name = name.rsplit('.').next().unwrap_or_default().trim_matches('"');
    ["chat_history", "user_registry"].into_iter().find(|table| *table == name)
}

fn between_parens(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('(')?;
    rest.split_once(')').map(|(inside, _)| inside)
}

fn unquoted(name: &str) -> String {
    name.trim().trim_matches('"').to_owned()
}

/// `    name type …` of a CREATE TABLE; table constraints are no columns.
fn column_name(line: &str) -> Option<String> {
    let first = line.split_whitespace().next()?;
    let constraint = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE", "LIKE"];
    (!constraint.contains(&first)).then(|| unquoted(first))
}

/// A field of COPY's text format.
fn copy_value(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    if !field.contains('\\') {
        return Some(field.to_owned());
    }
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(letter) = chars.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        out.push(match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(other) => other,
            None => '\\',
        });
    }
    Some(out)
}

/// Whether a statement's last `;` stands outside of every string.
fn is_ended(statement: &str) -> bool {
    if !statement.trim_end().ends_with(';') {
        return false;
    }
    let mut rest = statement;
    // Bounded: every turn takes a string off.
    while let Some((before, from)) = rest.split_once('\'') {
        let escapes = before.ends_with('E');
        match string_end(from, escapes) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

/// What follows the string that began before `text`; none when it does not end.
fn string_end(text: &str, escapes: bool) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if escapes => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return text.get(at + 1..),
            _ => at += 1,
        }
    }
    None
}

/// `(a, 'b', NULL)` and what follows it.
fn tuple(text: &str) -> Option<(Vec<Option<String>>, &str)> {
    let mut rest = text.strip_prefix('(')?;
    let mut values = Vec::new();
    // Bounded: every turn takes a value off.
    loop {
        rest = rest.trim_start();
        let escapes = rest.starts_with("E'");
        let quoted = if escapes { rest.strip_prefix('E') } else { Some(rest) };
        if let Some(from) = quoted.and_then(|text| text.strip_prefix('\'')) {
            let after = string_end(from, escapes)?;
            let inside = from.get(..from.len() - after.len() - 1)?;
            values.push(Some(string_value(inside, escapes)));
            rest = after;
        } else {
            let end = rest.find([',', ')'])?;
            let (word, after) = rest.split_at_checked(end)?;
            let null = word.trim().eq_ignore_ascii_case("null");
            values.push((!null).then(|| word.trim().to_owned()));
            rest = after;
        }
        // A cast such as ::jsonb says nothing new.
        if rest.starts_with("::") {
            rest = rest.get(rest.find([',', ')'])?..)?;
        }
        rest = match rest.strip_prefix(',') {
            Some(more) => more,
            None => return Some((values, rest.trim_start().strip_prefix(')')?)),
        };
    }
}

fn string_value(inside: &str, escapes: bool) -> String {
    let plain = inside.replace("''", "'");
    if escapes { copy_value(&plain).unwrap_or_default() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, Result<(), String>) {
        let mut dump = Dump::default();
        let mut rows = Vec::new();
        let mut on = |row: DumpRow| {
            let (table, mut row) = (row.table, row);
            let mut show = |name: &str| row.take(name).unwrap_or_else(|| "NULL".to_owned());
            rows.push(format!("{table} {} {}", show("id"), show("message_text")));
        };
        for line in text.lines() {
            if let Err(why) = dump.line(line, &mut on) {
                return (rows, Err(why));
            }
        }
        let end = dump.end();
        (rows, end)
    }

    const DONE: &str = "-- PostgreSQL database dump complete\n";

    fn check(text: &str, wanted: &[&str], error: &str) {
        let (rows, end) = read(text);
        assert_eq!(rows, wanted, "{text}");
        match end {
            Ok(()) => assert_eq!(error, "", "{text}"),
            Err(why) => assert!(!error.is_empty() && why.contains(error), "{why}\n{text}"),
        }
    }

    #[test]
    fn copy_blocks_are_read_with_their_escapes() {
        check(
            &format!(
                "COPY public.chat_history (id, message_text) FROM stdin;\n1\ta\\tb\\nc\\\\n\n2\t\\N\n\\.\n{DONE}"
            ),
            &["chat_history 1 a\tb\nc\\n", "chat_history 2 NULL"],
            "",
        );
    }

    #[test]
    fn other_tables_are_passed_over() {
        check(
            &format!(
                "COPY public.other (id, message_text) FROM stdin;\n1\tx\n\\.\nINSERT INTO public.other VALUES (1, 'a;\nINSERT INTO chat_history VALUES (9)');\nCOPY public.chat_history (id, message_text) FROM stdin;\n\\.\n{DONE}"
            ),
            &[],
            "",
        );
    }

    #[test]
    fn inserts_are_read_over_lines_and_in_rows() {
        check(
            &format!(
                "INSERT INTO public.chat_history (id, message_text) VALUES (1, 'it''s; (a)\nb');\nINSERT INTO \"public\".\"chat_history\" (id, message_text) VALUES\n\t(2, E'x\\n\\'y'),\n\t(3, NULL);\n{DONE}"
            ),
            &["chat_history 1 it's; (a)\nb", "chat_history 2 x\n'y", "chat_history 3 NULL"],
            "",
        );
    }

    #[test]
    fn inserts_without_names_follow_the_table() {
        check(
            &format!(
                "CREATE TABLE public.chat_history (\n    message_text text,\n    id bigint NOT NULL,\n    CONSTRAINT c CHECK (true)\n);\nINSERT INTO public.chat_history VALUES ('hi', 4);\n{DONE}"
            ),
            &["chat_history 4 hi"],
            "",
        );
        check(
            &format!(
                "INSERT INTO chat_history VALUES (5, 1, 2, 'n', 'hi', 'yo', 'm', '{{}}', '2026-01-01');\n{DONE}"
            ),
            &["chat_history 5 hi"],
            "",
        );
    }

    #[test]
    fn a_dump_cut_in_the_middle_says_where() {
        let head = "COPY public.chat_history (id, message_text) FROM stdin;\n";
        check(&format!("{head}1\ta\n"), &["chat_history 1 a"], "inside a COPY block, at line 2");
        check("INSERT INTO chat_history (id) VALUES (1, 'a", &[], "inside an INSERT, at line 1");
        check(&format!("{head}\\.\n"), &[], "before its last line");
        check("hello\n", &[], "neither chat_history nor user_registry");
        check("PGDMP\u{1}", &[], "custom-format");
    }
}
