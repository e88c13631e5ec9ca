//! Owns: reading this machine for the items that need no network.
//! May not: judge what it finds, change anything, ask the network.

use super::local::{EnvFile, Local, Unit};
use crate::commands::Place;
use crate::daemon::http::webhook::try_certificate;
use crate::daemon::{lock, pool};
use crate::engine::keypool::Pool;
use crate::store::{Store, StoreError};
use crate::types::Now;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Where systemd keeps what an operator enabled.
const UNIT_DIRS: [&str; 2] = ["/etc/systemd/system", "/etc/systemd/user"];
/// Units looked at, and how much of each.
const UNITS_MAX: usize = 300;
const UNIT_BYTES_MAX: u64 = 16 * 1_024;

/// What this machine says. `system_ms` is the system's own clock, unlike the bot's it may be wrong.
pub fn gather(place: &Place, warnings: Vec<String>, now: Now, system_ms: i64) -> Local {
    let mode = |path: &Path| fs::metadata(path).ok().map(|at| at.permissions().mode());
    let env_file = place
        .env_file
        .as_deref()
        .and_then(|path| Some(EnvFile { path: path.display().to_string(), mode: mode(path)? }));
    let mut local = Local {
        now_ms: system_ms,
        warnings,
        env_file,
        data_mode: mode(&place.data_dir),
        // Before the first start, of the folder that will hold it.
        disk: place.data_dir.ancestors().find_map(crate::os::disk),
        holder: lock::holder(&place.data_dir),
        units: UNIT_DIRS.iter().flat_map(|dir| enabled_units(Path::new(dir))).collect(),
        ..Local::default()
    };
    let files = place.config.webhook.as_ref().and_then(|webhook| webhook.tls.as_ref());
    local.certificate = files.map(try_certificate);
    match Store::open_read_only(&place.data_dir) {
        Err(StoreError::Missing(_)) => {}
        Err(error) => local.database = Some(Err(error.to_string())),
        Ok(store) => {
            if let Err(error) = look(&store, place, now, &mut local) {
                local.database = Some(Err(error.to_string()));
            }
        }
    }
    local
}

fn look(store: &Store, place: &Place, now: Now, local: &mut Local) -> Result<(), StoreError> {
    local.published = store.published()?;
    let (rows, salt) = store.ledger(now)?;
    let settings = pool::settings(&place.config, salt.as_deref().unwrap_or_default());
    local.quota = Pool::new(settings, rows, now).quota_view(now);
    let health = store.health(now)?;
    local.has_paired_owner = health.has_owner;
    local.database = Some(Ok(health));
    Ok(())
}

/// Every unit that a `.wants` folder below `dir` names.
fn enabled_units(dir: &Path) -> Vec<Unit> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let wants = entries(dir).filter(|at| at.file_name().to_string_lossy().ends_with(".wants"));
    let units = wants.flat_map(|at| entries(&at.path()).collect::<Vec<_>>()).take(UNITS_MAX);
    let read = |path: &Path| {
        let mut text = Vec::new();
        let file = fs::File::open(path).ok()?;
        file.take(UNIT_BYTES_MAX).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    units
        .filter_map(|at| {
            let name = at.file_name().to_string_lossy().into_owned();
            Some(Unit { name, text: read(&at.path())? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_machine_with_a_database_and_an_old_unit_is_read() {
        let dir = std::env::temp_dir().join(format!("svs-gather-{}", std::process::id()));
        let wants = dir.join("multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        fs::write(wants.join("old.service"), "ExecStart=python svskilo").unwrap();
        let env_file = dir.join("env");
        fs::write(&env_file, "").unwrap();
        fs::set_permissions(&env_file, fs::Permissions::from_mode(0o640)).unwrap();
        let place = Place {
            config: Config::sample(),
            data_dir: dir.join("data"),
            env_file: Some(env_file),
        };
        let now = Now { unix_ms: 1_795_389_134_000 };
        let before = gather(&place, vec!["w".into()], now, 5);
        assert_eq!((before.now_ms, before.database, before.holder), (5, None, None));
        assert!(before.disk.is_some());
        assert_eq!(before.env_file.map(|file| file.mode & 0o777), Some(0o640));
        fs::create_dir(&place.data_dir).unwrap();
        drop(Store::open(&place.data_dir).unwrap());
        let after = gather(&place, Vec::new(), now, 5);
        assert!(after.database.unwrap().unwrap().damage.is_none());
        assert!(!after.has_paired_owner && !after.quota.is_empty() && after.disk.is_some());
        assert_eq!(enabled_units(&dir)[0].name, "old.service");
        fs::write(place.data_dir.join("svs-bot.db"), "this is no database at all, but long enough")
            .unwrap();
        let broken = gather(&place, Vec::new(), now, 5);
        assert!(broken.database.unwrap().is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
