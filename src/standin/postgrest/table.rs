//! Owns: the two tables of the earlier versions, their rows and unique keys.
//! May not: know HTTP.
//! Invariant: every unique index agrees with the rows, also after a refused batch.

use super::errors::{self, Failure, coded, failure};
use super::query::Query;
use super::values::{Kind, now_text};
use super::{Data, ROWS_MAX, map};
use std::collections::{BTreeMap, BTreeSet};

struct Column {
    name: String,
    kind: Kind,
    not_null: bool,
    default: Missing,
}

#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Null,
    Sequence,
    One,
    EmptyObject,
    Now,
}

/// What `resolution=` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Conflict {
    Refuse,
    Ignore,
    Merge,
}

/// What an insert has done: ids of the rows it wrote.
pub(super) struct Done {
    pub(super) ids: Vec<i64>,
    pub(super) inserted: usize,
}

struct Unique {
    columns: Vec<String>,
    places: Vec<usize>,
    ids: BTreeMap<String, i64>,
}

pub(super) struct Table {
    pub(super) name: String,
    columns: Vec<Column>,
    /// The first is the primary key, `id`.
    uniques: Vec<Unique>,
    /// Values in the order of the columns, by `id`.
    rows: BTreeMap<i64, Vec<Data>>,
    /// As in PostgreSQL: explicit ids do not move it, and a rollback does not turn it back.
    sequence: i64,
}

/// `chat_history` as the earlier versions made it.
pub(super) fn chat_history() -> Table {
    let mut table = Table::new("chat_history");
    table.column("chat_id", Kind::BigInt, true, Missing::Null);
    table.column("user_id", Kind::BigInt, true, Missing::Null);
    table.column("username", Kind::Text(255), false, Missing::Null);
    table.column("message_text", Kind::Text(0), false, Missing::Null);
    table.column("response_text", Kind::Text(0), false, Missing::Null);
    table.column("model_used", Kind::Text(100), false, Missing::Null);
    table.column("metadata", Kind::Json, false, Missing::EmptyObject);
    table.column("created_at", Kind::Timestamp, false, Missing::Now);
    table
}

/// `user_registry` as the earlier versions made it.
pub(super) fn user_registry() -> Table {
    let mut table = Table::new("user_registry");
    table.column("user_id", Kind::BigInt, true, Missing::Null);
    table.column("username", Kind::Text(255), false, Missing::Null);
    table.column("first_name", Kind::Text(255), false, Missing::Null);
    table.column("chat_id", Kind::BigInt, true, Missing::Null);
    table.column("triggered_by_keyword", Kind::Text(100), false, Missing::Null);
    table.column("trigger_count", Kind::Integer, false, Missing::One);
    table.column("last_triggered_at", Kind::Timestamp, false, Missing::Now);
    table.column("created_at", Kind::Timestamp, false, Missing::Now);
    table.unique(&["user_id", "chat_id"]);
    table
}

impl Table {
    fn new(name: &str) -> Self {
        let mut table = Self {
            name: name.to_owned(),
            columns: Vec::new(),
            uniques: Vec::new(),
            rows: BTreeMap::new(),
            sequence: 1,
        };
        table.column("id", Kind::BigInt, true, Missing::Sequence);
        table.unique(&["id"]);
        table
    }

    fn column(&mut self, name: &str, kind: Kind, not_null: bool, default: Missing) {
        self.columns.push(Column { name: name.to_owned(), kind, not_null, default });
    }

    fn unique(&mut self, columns: &[&str]) {
        let places = columns.iter().filter_map(|name| self.place(name)).collect();
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        self.uniques.push(Unique { columns, places, ids: BTreeMap::new() });
    }

    pub(super) fn add_column(&mut self, name: &str, kind: &str, unique: bool) {
        if self.place(name).is_some() {
            return;
        }
        self.column(name, Kind::named(kind), false, Missing::Null);
        for row in self.rows.values_mut() {
            row.push(Data::Null);
        }
        if unique {
            self.unique(&[name]);
        }
    }

    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|it| it.name == column)
    }

    pub(super) fn kind(&self, place: usize) -> Option<Kind> {
        self.columns.get(place).map(|column| column.kind)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn all(&self) -> Vec<Data> {
        self.rows.values().map(|row| self.object(row)).collect()
    }

    pub(super) fn described(&self) -> Data {
        let mut all = map([]);
        for column in &self.columns {
            all.set(&column.name, map([("format", column.kind.name().into())]));
        }
        all
    }

    fn object(&self, row: &[Data]) -> Data {
        let pairs = self.columns.iter().zip(row);
        Data::Map(pairs.map(|(column, value)| (column.name.clone(), value.clone())).collect())
    }

    /// A row as `select` wants it.
    pub(super) fn shown(&self, id: i64, query: &Query) -> Option<Data> {
        let row = self.rows.get(&id)?;
        Some(query.select(row).unwrap_or_else(|| self.object(row)))
    }

    /// Ids of the rows that a query is about, in its order, within its limits.
    pub(super) fn find(&self, query: &Query) -> Result<Vec<i64>, Failure> {
        let most = query.limit().min(if query.is_capped() { ROWS_MAX } else { usize::MAX });
        let end = query.offset().saturating_add(most);
        let exact = query.exact(self);
        let by_id = query.is_by_id();
        let mut found = Vec::new();
        let mut take = |id: i64, row: &Vec<Data>| {
            if query.fits(row) {
                found.push(id);
            }
            // Rows come by id, so that a walk in that order may end early.
            by_id && end <= found.len()
        };
        match exact {
            Some(ids) => {
                for id in ids {
                    if self.rows.get(&id).is_some_and(|row| take(id, row)) {
                        break;
                    }
                }
            }
            None => {
                for (id, row) in self.rows.range(query.first_id()..) {
                    if take(*id, row) {
                        break;
                    }
                }
            }
        }
        if !by_id {
            found.sort_by(|one, two| match (self.rows.get(one), self.rows.get(two)) {
                (Some(one), Some(two)) => query.order(one, two),
                _ => one.cmp(two),
            });
        }
        Ok(found.into_iter().skip(query.offset()).take(most).collect())
    }

    /// The row that holds these values of a unique key.
    pub(super) fn by_unique(
        &self,
        value_of: impl Fn(usize) -> Option<Data>,
    ) -> Option<Option<i64>> {
        self.uniques.iter().find_map(|unique| {
            let values: Option<Vec<Data>> = unique.places.iter().map(|at| value_of(*at)).collect();
            values.map(|values| unique.ids.get(&Data::List(values).render()).copied())
        })
    }

    pub(super) fn insert(
        &mut self,
        body: &[u8],
        query: &Query,
        conflict: Conflict,
        missing_default: bool,
        reject: Option<&str>,
        now_ms: i64,
    ) -> Result<Done, Failure> {
        let bad = || coded(400, "PGRST102", "Empty or invalid json");
        let objects = match Data::parse(body) {
            Ok(Data::List(list)) => list,
            Ok(object @ Data::Map(_)) => vec![object],
            _ => return Err(bad()),
        };
        let columns = self.sent_columns(&objects, query)?;
        let target = self.target(query, conflict)?;
        let mut done = Done { ids: Vec::new(), inserted: 0 };
        let mut before: Vec<(i64, Option<Vec<Data>>)> = Vec::new();
        let mut touched = BTreeSet::new();
        for object in objects {
            let step =
                self.row(object, &columns, missing_default, reject, now_ms).and_then(|row| {
                    self.put(row, &columns, conflict, target, &mut touched, &mut before)
                });
            match step {
                Ok(Some((id, inserted))) => {
                    done.ids.push(id);
                    done.inserted += usize::from(inserted);
                }
                Ok(None) => {}
                Err(failure) => {
                    for (id, old) in before.into_iter().rev() {
                        self.remove(id);
                        if let Some(old) = old {
                            self.place_row(id, old);
                        }
                    }
                    return Err(failure);
                }
            }
        }
        Ok(done)
    }

    /// The columns that the rows of a batch set.
    fn sent_columns(&self, objects: &[Data], query: &Query) -> Result<BTreeSet<String>, Failure> {
        let keys = |object: &Data| -> BTreeSet<String> {
            object.map().into_iter().flat_map(|map| map.keys().cloned()).collect()
        };
        let columns = match query.columns() {
            Some(columns) => columns.iter().cloned().collect(),
            None => {
                let first = objects.first().map(keys).unwrap_or_default();
                if objects.iter().any(|object| keys(object) != first) {
                    return Err(coded(400, "PGRST102", "All object keys must match"));
                }
                first
            }
        };
        match columns.iter().find(|column| self.place(column).is_none()) {
            Some(unknown) => Err(errors::no_column(&self.name, unknown)),
            None => Ok(columns),
        }
    }

    /// Which unique key decides what a duplicate is; none: every one refuses.
    fn target(&self, query: &Query, conflict: Conflict) -> Result<Option<usize>, Failure> {
        if conflict == Conflict::Refuse {
            return Ok(None);
        }
        let Some(wanted) = query.on_conflict() else { return Ok(Some(0)) };
        let wanted: BTreeSet<&String> = wanted.iter().collect();
        let at =
            self.uniques.iter().position(|it| it.columns.iter().collect::<BTreeSet<_>>() == wanted);
        let text =
            "there is no unique or exclusion constraint matching the ON CONFLICT specification";
        at.map(Some).ok_or_else(|| coded(400, "42P10", text))
    }

    /// Values in the order of the columns, cast and defaulted.
    fn row(
        &mut self,
        object: Data,
        columns: &BTreeSet<String>,
        missing_default: bool,
        reject: Option<&str>,
        now_ms: i64,
    ) -> Result<Vec<Data>, Failure> {
        let Data::Map(mut given) = object else {
            return Err(coded(400, "PGRST102", "Empty or invalid json"));
        };
        let mut row = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let sent = columns.contains(&column.name);
            let value = match given.remove(&column.name).filter(|_| sent) {
                Some(value) => column.kind.cast(value)?,
                None if sent && !missing_default => Data::Null,
                None => match column.default {
                    Missing::Null => Data::Null,
                    Missing::One => Data::Int(1),
                    Missing::EmptyObject => map([]),
                    Missing::Now => now_text(now_ms).into(),
                    Missing::Sequence => {
                        self.sequence += 1;
                        Data::Int(self.sequence - 1)
                    }
                },
            };
            if value == Data::Null && column.not_null {
                let (name, table) = (&column.name, &self.name);
                return Err(coded(
                    400,
                    "23502",
                    &format!(
                        "null value in column \"{name}\" of relation \"{table}\" violates not-null constraint"
                    ),
                ));
            }
            if reject.is_some_and(|text| value.text().is_some_and(|value| value.contains(text))) {
                return Err(failure("check"));
            }
            row.push(value);
        }
        Ok(row)
    }

    /// Puts one row in; `Some((id, inserted))` unless it was ignored.
    fn put(
        &mut self,
        row: Vec<Data>,
        columns: &BTreeSet<String>,
        conflict: Conflict,
        target: Option<usize>,
        touched: &mut BTreeSet<i64>,
        before: &mut Vec<(i64, Option<Vec<Data>>)>,
    ) -> Result<Option<(i64, bool)>, Failure> {
        for (at, unique) in self.uniques.iter().enumerate() {
            let key = unique.key(&row);
            let Some(old_id) = key.as_ref().and_then(|key| unique.ids.get(key)).copied() else {
                continue;
            };
            if target != Some(at) {
                return Err(errors::duplicate(&self.name, &unique.columns, &unique.shown(&row)));
            }
            if conflict == Conflict::Ignore {
                return Ok(None);
            }
            if !touched.insert(old_id) {
                let text = "ON CONFLICT DO UPDATE command cannot affect row a second time";
                return Err(coded(500, "21000", text));
            }
            let Some(old) = self.rows.get(&old_id).cloned() else { continue };
            let mut merged = old.clone();
            for ((column, place), value) in self.columns.iter().zip(&mut merged).zip(row) {
                if columns.contains(&column.name) {
                    *place = value;
                }
            }
            before.push((old_id, Some(old)));
            self.remove(old_id);
            let id = merged.first().and_then(Data::int).unwrap_or(old_id);
            self.place_row(id, merged);
            return Ok(Some((id, false)));
        }
        let id = row.first().and_then(Data::int).unwrap_or(0);
        touched.insert(id);
        before.push((id, None));
        self.place_row(id, row);
        Ok(Some((id, true)))
    }

    /// Sets the sent columns of some rows.
    pub(super) fn update(&mut self, ids: &[i64], body: &[u8], _now_ms: i64) -> Result<(), Failure> {
        let bad = || coded(400, "PGRST102", "Empty or invalid json");
        let Ok(Data::Map(given)) = Data::parse(body) else { return Err(bad()) };
        let mut sets = Vec::new();
        for (name, value) in given {
            let Some(place) = self.place(&name) else {
                return Err(errors::no_column(&self.name, &name));
            };
            let kind = self.kind(place).unwrap_or(Kind::Text(0));
            sets.push((place, kind.cast(value)?));
        }
        for id in ids {
            let Some(mut row) = self.rows.get(id).cloned() else { continue };
            for (place, value) in &sets {
                if let Some(slot) = row.get_mut(*place) {
                    slot.clone_from(value);
                }
            }
            let clash = self.uniques.iter().find(|unique| {
                let holder = unique.key(&row).and_then(|key| unique.ids.get(&key).copied());
                holder.is_some_and(|holder| holder != *id)
            });
            if let Some(unique) = clash {
                return Err(errors::duplicate(&self.name, &unique.columns, &unique.shown(&row)));
            }
            self.remove(*id);
            let id = row.first().and_then(Data::int).unwrap_or(*id);
            self.place_row(id, row);
        }
        Ok(())
    }

    fn place_row(&mut self, id: i64, row: Vec<Data>) {
        for unique in &mut self.uniques {
            if let Some(key) = unique.key(&row) {
                unique.ids.insert(key, id);
            }
        }
        self.rows.insert(id, row);
    }

    pub(super) fn remove(&mut self, id: i64) {
        let Some(row) = self.rows.remove(&id) else { return };
        for unique in &mut self.uniques {
            if let Some(key) = unique.key(&row) {
                unique.ids.remove(&key);
            }
        }
    }
}

impl Unique {
    /// The key of a row; nulls are equal to nothing.
    fn key(&self, row: &[Data]) -> Option<String> {
        let values: Vec<Data> = self.places.iter().filter_map(|at| row.get(*at)).cloned().collect();
        (!values.contains(&Data::Null)).then(|| Data::List(values).render())
    }

    fn shown(&self, row: &[Data]) -> String {
        let values = self.places.iter().filter_map(|at| row.get(*at)).map(Data::render);
        values.collect::<Vec<String>>().join(", ")
    }
}
