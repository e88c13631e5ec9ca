//! Owns: the shapes of the command line (contract §3).
//! May not: read files or the environment, run anything.

use argh::FromArgs;

/// svs-bot: a Telegram bot server that answers with Google Gemini
#[derive(FromArgs, Debug, PartialEq)]
pub struct Cli {
    /// print version, target and SQLite version
    #[argh(switch)]
    pub version: bool,
    /// what to do
    #[argh(subcommand)]
    pub command: Option<Command>,
}

/// Every subcommand.
#[derive(FromArgs, Debug, PartialEq)]
#[argh(subcommand)]
#[expect(missing_docs, reason = "each arm is documented at its struct")]
pub enum Command {
    Run(Run),
    Demo(Demo),
    Init(Init),
    Sync(Sync),
    Drain(Drain),
    Check(Check),
    Status(Status),
    Keys(Keys),
    Role(Role),
    OwnerLink(OwnerLink),
    Env(Env),
    Import(Import),
    Verify(Verify),
    Export(Export),
    Forget(Forget),
    Backup(Backup),
}

macro_rules! command {
    ($(#[$doc:meta])* $name:ident, $word:literal { $($body:tt)* }) => {
        $(#[$doc])*
        #[derive(FromArgs, Debug, PartialEq)]
        #[argh(subcommand, name = $word)]
        pub struct $name {
            /// settings file
            #[argh(option)]
            pub env_file: Option<String>,
            /// data directory
            #[argh(option)]
            pub data_dir: Option<String>,
            $($body)*
        }
    };
}

command!(
    /// the daemon: takes messages, answers them, synchronises
    Run, "run" {
        /// ask for real, but turn every write to Telegram and Supabase into a log line
        #[argh(switch)]
        pub dry_run: bool,
    }
);
command!(
    /// chat with the bot in this terminal; needs nothing
    Demo, "demo" {}
);
command!(
    /// ask for the settings, check them, write the settings file
    Init, "init" {
        /// where to write it (default: the settings file that would be read, else ./.env)
        #[argh(option)]
        pub out: Option<String>,
    }
);
command!(
    /// one synchronisation with Supabase, for cron
    Sync, "sync" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// say something also when there is nothing to say
        #[argh(switch)]
        pub verbose: bool,
        /// try rows again that were set aside
        #[argh(switch)]
        pub retry_parked: bool,
    }
);
command!(
    /// stop polling, answer and synchronise everything stored, then end the daemon
    Drain, "drain" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// how long to wait, like 60s (default 10m)
        #[argh(option)]
        pub within: Option<String>,
    }
);
command!(
    /// look at settings, database, disk, clock and every outside service
    Check, "check" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// skip the network
        #[argh(switch)]
        pub offline: bool,
        /// try whether another poller is active (interrupts it)
        #[argh(switch)]
        pub poll: bool,
    }
);
command!(
    /// how the bot is: queue, keys, quotas, backlog
    Status, "status" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// again every two seconds
        #[argh(switch)]
        pub watch: bool,
        /// where the memory is
        #[argh(switch)]
        pub memory: bool,
        /// the boxes that share the keys
        #[argh(switch)]
        pub fleet: bool,
    }
);
command!(
    /// the pool of Gemini keys
    Keys, "keys" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// list, park N, revive N
        #[argh(positional)]
        pub action: Vec<String>,
    }
);
command!(
    /// who may what: list, set ID ROLE (30d), remove ID
    Role, "role" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// list, set ID ROLE (30d), remove ID
        #[argh(positional)]
        pub action: Vec<String>,
    }
);
command!(
    /// print a one-time link that makes who opens it the owner
    OwnerLink, "owner-link" {}
);
command!(
    /// print the settings file for an old Python or Go one
    Env, "env" {
        /// the old settings file
        #[argh(positional)]
        pub old: String,
        /// write it here, mode 0600, instead of printing
        #[argh(option)]
        pub out: Option<String>,
    }
);
command!(
    /// bring history in: supabase, pgdump FILE, jsonl FILE
    Import, "import" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// supabase, pgdump or jsonl
        #[argh(positional)]
        pub source: String,
        /// the file, for pgdump and jsonl
        #[argh(positional)]
        pub file: Option<String>,
        /// zone of times written without one, like +08:00 or Asia/Shanghai (default UTC)
        #[argh(option)]
        pub zone: Option<String>,
    }
);
command!(
    /// compare the local rows with Supabase
    Verify, "verify" {
        /// print one JSON object
        #[argh(switch)]
        pub json: bool,
        /// window in days
        #[argh(option, default = "30")]
        pub days: u32,
    }
);
command!(
    /// stream the history to stdout
    Export, "export" {
        /// jsonl, csv or markdown
        #[argh(option, default = "String::from(\"jsonl\")")]
        pub format: String,
        /// only this person
        #[argh(option)]
        pub user: Option<i64>,
        /// only this chat
        #[argh(option)]
        pub chat: Option<i64>,
        /// only from this day on, like 2026-01-31
        #[argh(option)]
        pub since: Option<String>,
    }
);
command!(
    /// erase a person here and, at the next sync, in Supabase
    Forget, "forget" {
        /// numeric Telegram id
        #[argh(positional)]
        pub user: i64,
    }
);
command!(
    /// a consistent copy of the live database
    Backup, "backup" {
        /// where to
        #[argh(positional)]
        pub file: String,
    }
);
