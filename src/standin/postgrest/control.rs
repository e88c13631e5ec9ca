//! Owns: steering over HTTP, for scripts and benches in other languages.
//! May not: be reachable from beyond loopback (the server binds nowhere else).

use super::table::Table;
use super::{
    Asked, Call, Data, Fault, Inner, Outcome, Reply, Request, failure, lock, map, push_fault,
};

impl Inner {
    /// `POST /control/NAME`: `fault {method, table, times, fail | lose_reply | commit_later |
    /// hang_up | delay_ms}`, `clear`, `release`, `rows {table}`, `insert {table, rows}`,
    /// `count {table}`, `reject {text}`, `asked {limit}`, `add_column {table, column, kind, unique}`.
    pub(super) fn control(&self, name: &str, request: &Request) -> Reply {
        let mut told = Data::parse(&request.body).unwrap_or(map([]));
        for (key, value) in &request.query {
            told.set(key, value.as_str());
        }
        let now_ms = (self.options.clock)();
        let mut state = lock(&self.state);
        let table = told.at("table").str();
        let mut data = map([("ok", true.into())]);
        match name {
            "fault" => match read_fault(&told) {
                Some(fault) => push_fault(&mut state, fault),
                None => return Reply::json(400, "{\"error\":\"no such fault\"}"),
            },
            "clear" => state.faults.clear(),
            "release" => state.run_late(true, now_ms),
            "reject" => state.reject = told.at("text").text().map(str::to_owned),
            "insert" => {
                let body = told.at("rows").render().into_bytes();
                let call =
                    Call { method: "POST".into(), table: table.into(), body, ..Call::default() };
                if let Err(failure) = state.run(&call, now_ms) {
                    return failure.reply();
                }
            }
            "rows" => {
                let rows = state.tables.get(table).map(Table::all).unwrap_or_default();
                data.set("rows", rows);
            }
            "count" => data.set("count", state.tables.get(table).map_or(0, Table::len)),
            "add_column" => {
                let (column, kind) = (told.at("column").str(), told.at("kind").str());
                if let Some(table) = state.tables.get_mut(table) {
                    table.add_column(column, kind, told.at("unique").is_true());
                }
            }
            "asked" => {
                let limit = told.at("limit").count().and_then(|it| usize::try_from(it).ok());
                let skip = limit.map_or(0, |limit| state.asked.len().saturating_sub(limit));
                let all = state.asked.iter().skip(skip).map(asked_data);
                data.set("asked", all.collect::<Vec<Data>>());
                data.set("total", i64::try_from(state.asked_total).unwrap_or(i64::MAX));
            }
            _ => return Reply::json(404, "{\"error\":\"no such control\"}"),
        }
        Reply::json(200, data.render())
    }
}

fn asked_data(asked: &Asked) -> Data {
    let pairs = asked.query.iter().map(|(key, value)| format!("{key}={value}").into());
    map([
        ("at_ms", asked.at_ms.into()),
        ("method", asked.method.as_str().into()),
        ("table", asked.table.as_str().into()),
        ("query", pairs.collect::<Vec<Data>>().into()),
        ("bytes", asked.bytes.into()),
        ("status", u32::from(asked.status).into()),
    ])
}

fn read_fault(told: &Data) -> Option<Fault> {
    let text = |key: &str| told.at(key).text().map(str::to_owned);
    let count = |key: &str| told.at(key).count().and_then(|it| u32::try_from(it).ok());
    let outcome = if let Some(kind) = told.at("fail").text() {
        Outcome::Fail(failure(kind))
    } else if let Some(ms) = told.at("delay_ms").count() {
        Outcome::Delay(ms)
    } else if let Some(after) = count("commit_later") {
        Outcome::CommitLater(after)
    } else if told.at("lose_reply").is_true() {
        Outcome::LoseReply
    } else if told.at("hang_up").is_true() {
        Outcome::HangUp
    } else {
        return None;
    };
    let times = count("times").unwrap_or(1);
    Some(Fault { method: text("method"), table: text("table"), times, outcome })
}
