//! The real program against the stand-ins, from the outside: what a person in a chat, an operator
//! and the services see (contract §2–§6). Nothing here knows a room of the bot but the stand-ins.
#![allow(clippy::print_stderr, reason = "seeds of runs that are left to chance")]
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be had fails it")]

mod bad_input;
mod chat;
mod checked;
mod damage;
mod dumps;
mod floods;
mod gemini_faults;
mod impostors;
mod kill;
mod order;
mod outside;
mod poison;
mod process;
mod roles;
mod telegram_faults;
mod upgrade;
mod webhook;
mod world;
