//! Owns: what stands behind the `?`: filters, order, page, columns (api-reference C3).
//! May not: change rows.

use super::Data;
use super::errors::{Failure, coded, undefined_column};
use super::table::Table;
use super::values::Kind;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Deepest nesting of `and`/`or`.
const DEPTH_MAX: usize = 8;

/// A column, perhaps a member of it, perhaps as text.
#[derive(Clone, Debug)]
struct Path {
    place: usize,
    kind: Kind,
    members: Vec<String>,
    as_text: bool,
}

#[derive(Clone, Debug)]
enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare(Path, Vec<Ordering>, Data),
    In(Path, Vec<Data>),
    Is(Path, Data),
    Like(Path, String, bool),
}

/// One request's query.
#[derive(Clone, Debug)]
pub(super) struct Query {
    filters: Vec<Filter>,
    select: Option<Vec<(String, Path)>>,
    order: Vec<(Path, bool, bool)>,
    limit: usize,
    offset: usize,
    capped: bool,
    columns: Option<Vec<String>>,
    on_conflict: Option<Vec<String>>,
}

impl Query {
    pub(super) fn read(
        table: &Table,
        pairs: &[(String, String)],
        range: &str,
    ) -> Result<Self, Failure> {
        let mut query = Self {
            filters: Vec::new(),
            select: None,
            order: Vec::new(),
            limit: usize::MAX,
            offset: 0,
            capped: true,
            columns: None,
            on_conflict: None,
        };
        let number = |text: &str| text.parse().map_err(|_| bad(text));
        let names =
            |text: &str| text.split(',').map(|it| it.trim_matches('"').to_owned()).collect();
        if let Some((from, to)) = range.split_once('-') {
            query.offset = number(from)?;
            if !to.is_empty() {
                let to: usize = number(to)?;
                query.limit = (to + 1)
                    .checked_sub(query.offset)
                    .ok_or_else(|| coded(416, "PGRST103", "Requested range not satisfiable"))?;
            }
        }
        for (key, value) in pairs {
            match key.as_str() {
                "select" if value == "*" || value.is_empty() => {}
                "select" => query.select = Some(read_select(table, value)?),
                "order" => query.order = read_order(table, value)?,
                "limit" => query.limit = number(value)?,
                "offset" => query.offset = number(value)?,
                "columns" => query.columns = Some(names(value)),
                "on_conflict" => query.on_conflict = Some(names(value)),
                "apikey" => {}
                "and" | "or" | "not.and" | "not.or" => {
                    query.filters.push(read_group(table, key, value, 0)?);
                }
                _ => query.filters.push(read_filter(table, key, value, false)?),
            }
        }
        Ok(query)
    }

    /// The same without a page.
    pub(super) fn unlimited(&self) -> Self {
        Self { limit: usize::MAX, offset: 0, capped: false, ..self.clone() }
    }
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
    pub(super) fn offset(&self) -> usize {
        self.offset
    }
    pub(super) fn is_capped(&self) -> bool {
        self.capped
    }
    pub(super) fn is_unfiltered(&self) -> bool {
        self.filters.is_empty()
    }
    pub(super) fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }
    pub(super) fn on_conflict(&self) -> Option<&[String]> {
        self.on_conflict.as_deref()
    }

    /// Whether the order is that of the primary key, or none is asked for.
    pub(super) fn is_by_id(&self) -> bool {
        self.order.first().is_none_or(|(path, down, _)| path.place == 0 && !down)
    }

    /// No row before this id can fit.
    pub(super) fn first_id(&self) -> i64 {
        let bounds = self.filters.iter().filter_map(|filter| match filter {
            Filter::Compare(path, wanted, value)
                if path.place == 0 && !wanted.contains(&Ordering::Less) =>
            {
                value.int()
            }
            _ => None,
        });
        bounds.max().unwrap_or(i64::MIN)
    }

    /// The only ids that can fit, where an index tells: a list of ids, or a whole unique key.
    pub(super) fn exact(&self, table: &Table) -> Option<Vec<i64>> {
        let mut equal = BTreeMap::new();
        for filter in &self.filters {
            match filter {
                Filter::In(path, values) if path.place == 0 => {
                    let mut ids: Vec<i64> = values.iter().filter_map(Data::int).collect();
                    ids.sort_unstable();
                    ids.dedup();
                    return Some(ids);
                }
                Filter::Compare(path, wanted, value)
                    if *wanted == [Ordering::Equal] && path.members.is_empty() =>
                {
                    equal.insert(path.place, value.clone());
                }
                _ => {}
            }
        }
        let found = table.by_unique(|place| equal.get(&place).cloned())?;
        Some(found.into_iter().collect())
    }

    pub(super) fn fits(&self, row: &[Data]) -> bool {
        self.filters.iter().all(|filter| filter.fits(row) == Some(true))
    }

    pub(super) fn order(&self, one: &[Data], two: &[Data]) -> Ordering {
        for (path, down, nulls_first) in &self.order {
            let (one, two) = (path.value(one), path.value(two));
            let order = match (one == Data::Null, two == Data::Null) {
                (false, false) if *down => two.order(&one),
                (false, false) => one.order(&two),
                (true, true) => Ordering::Equal,
                (null, _) => {
                    if null == *nulls_first {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        one.first().cloned().unwrap_or_default().order(two.first().unwrap_or(&Data::Null))
    }

    /// The selected columns of a row; none: all of them.
    pub(super) fn select(&self, row: &[Data]) -> Option<Data> {
        let wanted = self.select.as_ref()?;
        Some(Data::Map(wanted.iter().map(|(name, path)| (name.clone(), path.value(row))).collect()))
    }
}

impl Path {
    fn read(table: &Table, text: &str) -> Result<Self, Failure> {
        let (text, cast) = text.split_once("::").unwrap_or((text, ""));
        let mut pieces = text.split("->");
        let name = pieces.next().unwrap_or_default().trim_matches('"');
        let place = table.place(name).ok_or_else(|| undefined_column(&table.name, name))?;
        let mut as_text = cast == "text";
        let mut members = Vec::new();
        for piece in pieces {
            as_text |= piece.starts_with('>');
            members.push(piece.trim_start_matches('>').trim_matches('"').to_owned());
        }
        let kind = match (as_text, members.is_empty()) {
            (true, _) => Kind::Text(0),
            (false, true) => table.kind(place).unwrap_or(Kind::Text(0)),
            (false, false) => Kind::Json,
        };
        Ok(Self { place, kind, members, as_text })
    }

    fn value(&self, row: &[Data]) -> Data {
        let mut value = row.get(self.place).unwrap_or(&Data::Null);
        for member in &self.members {
            value = match member.parse::<usize>() {
                Ok(index) => value.list().get(index).unwrap_or(&Data::Null),
                Err(_) => value.at(member),
            };
        }
        match value {
            Data::Null | Data::Text(_) => value.clone(),
            _ if self.as_text => value.render().into(),
            _ => value.clone(),
        }
    }

    fn cast(&self, text: &str) -> Result<Data, Failure> {
        if self.kind == Kind::Json {
            let value = Data::parse(text.as_bytes());
            return value.map_err(|_| coded(400, "22P02", "invalid input syntax for type json"));
        }
        self.kind.cast(text.into())
    }
}

impl Filter {
    /// None is SQL's unknown.
    fn fits(&self, row: &[Data]) -> Option<bool> {
        match self {
            Self::All(all) => {
                let each: Vec<Option<bool>> = all.iter().map(|one| one.fits(row)).collect();
                if each.contains(&Some(false)) {
                    return Some(false);
                }
                (!each.contains(&None)).then_some(true)
            }
            Self::Any(all) => {
                let each: Vec<Option<bool>> = all.iter().map(|one| one.fits(row)).collect();
                if each.contains(&Some(true)) {
                    return Some(true);
                }
                (!each.contains(&None)).then_some(false)
            }
            Self::Not(one) => one.fits(row).map(|fits| !fits),
            Self::Is(path, wanted) => Some(path.value(row) == *wanted),
            Self::Compare(path, wanted, value) => {
                known(path.value(row)).map(|found| wanted.contains(&found.order(value)))
            }
            Self::In(path, values) => known(path.value(row)).map(|found| values.contains(&found)),
            Self::Like(path, pattern, any_case) => known(path.value(row)).map(|found| {
                if *any_case {
                    return like(&pattern.to_lowercase(), &found.str().to_lowercase());
                }
                like(pattern, found.str())
            }),
        }
    }
}

fn known(value: Data) -> Option<Data> {
    (value != Data::Null).then_some(value)
}

/// `*` stands for anything; other wildcards are not played.
fn like(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split(['*', '%']);
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for piece in pieces {
        if let Some(middle) = last.replace(piece) {
            let Some((_, tail)) = rest.split_once(middle) else { return false };
            rest = tail;
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

fn bad(text: &str) -> Failure {
    coded(400, "PGRST100", &format!("failed to parse \"{text}\""))
}

fn read_select(table: &Table, text: &str) -> Result<Vec<(String, Path)>, Failure> {
    let one = |item: &str| {
        let alias = item.split_once(':').filter(|(_, rest)| !rest.starts_with(':'));
        let (alias, path) = alias.map_or((None, item), |(alias, path)| (Some(alias), path));
        let bare = path.split_once("::").map_or(path, |(bare, _)| bare);
        let name = alias.unwrap_or_else(|| bare.rsplit('>').next().unwrap_or(bare));
        Ok((name.trim_matches('"').to_owned(), Path::read(table, path)?))
    };
    text.split(',').map(one).collect()
}

fn read_order(table: &Table, text: &str) -> Result<Vec<(Path, bool, bool)>, Failure> {
    let one = |item: &str| {
        let mut words = item.split('.');
        let path = Path::read(table, words.next().unwrap_or_default())?;
        let (mut down, mut nulls) = (false, None);
        for word in words {
            match word {
                "asc" => {}
                "desc" => down = true,
                "nullsfirst" => nulls = Some(true),
                "nullslast" => nulls = Some(false),
                _ => return Err(bad(item)),
            }
        }
        Ok((path, down, nulls.unwrap_or(down)))
    };
    text.split(',').map(one).collect()
}

/// `or=(a.eq.1,and(b.gt.2,c.is.null))`
fn read_group(table: &Table, key: &str, text: &str, depth: usize) -> Result<Filter, Failure> {
    let inner = text.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    let inner = inner.filter(|_| depth < DEPTH_MAX).ok_or_else(|| bad(text))?;
    let mut all = Vec::new();
    for item in split_outside(inner) {
        let group = item.find('(').and_then(|at| item.split_at_checked(at));
        match group {
            Some((name @ ("and" | "or" | "not.and" | "not.or"), rest)) => {
                all.push(read_group(table, name, rest, depth + 1)?);
            }
            _ => {
                let (column, rest) = item.split_once('.').ok_or_else(|| bad(item))?;
                all.push(read_filter(table, column, rest, true)?);
            }
        }
    }
    let bare = key.strip_prefix("not.");
    let group = if bare.unwrap_or(key) == "or" { Filter::Any(all) } else { Filter::All(all) };
    Ok(if bare.is_some() { Filter::Not(Box::new(group)) } else { group })
}

/// Splits at commas that are in no quotes and no parentheses.
fn split_outside(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut from) = (0_usize, false, false, 0);
    let mut items = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                items.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    items.push(text.get(from..).unwrap_or_default());
    items
}

/// A value inside `in.()` or `or=()`: quotes and escapes undone.
fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    out
}

fn read_filter(table: &Table, column: &str, text: &str, grouped: bool) -> Result<Filter, Failure> {
    let path = Path::read(table, column)?;
    if let Some(rest) = text.strip_prefix("not.") {
        return Ok(Filter::Not(Box::new(read_filter(table, column, rest, grouped)?)));
    }
    let (operator, value) = text.split_once('.').ok_or_else(|| bad(text))?;
    let plain = if grouped { unquoted(value) } else { value.to_owned() };
    use Ordering::{Equal, Greater, Less};
    let wanted = match operator {
        "eq" => vec![Equal],
        "neq" => vec![Less, Greater],
        "gt" => vec![Greater],
        "gte" => vec![Equal, Greater],
        "lt" => vec![Less],
        "lte" => vec![Less, Equal],
        "like" | "ilike" => return Ok(Filter::Like(path, plain, operator == "ilike")),
        "is" => {
            let wanted = match value {
                "null" => Data::Null,
                "true" => true.into(),
                "false" => false.into(),
                _ => return Err(bad(text)),
            };
            return Ok(Filter::Is(path, wanted));
        }
        "in" => {
            let list = value.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
            let list = list.ok_or_else(|| bad(text))?;
            let items = split_outside(list).into_iter().filter(|_| !list.is_empty());
            let values = items.map(|item| path.cast(&unquoted(item))).collect::<Result<_, _>>()?;
            return Ok(Filter::In(path, values));
        }
        _ => return Err(bad(text)),
    };
    let value = path.cast(&plain)?;
    Ok(Filter::Compare(path, wanted, value))
}
