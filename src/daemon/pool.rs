//! Owns: the settings of the key pool and of the counters, from the checked settings.
//! May not: decide anything.

use crate::config::{self, Config};
use crate::engine::keypool::{KeySpec, Limit, PoolSettings};
use crate::secret_hash::fingerprint;

/// What the pool obeys; `salt` is this installation's.
pub fn settings(config: &Config, salt: &str) -> PoolSettings {
    let spec = |key: &config::KeySetting| KeySpec {
        fingerprint: fingerprint(salt, &key.secret),
        last4: key.secret.last4(),
        group: key.group,
        project: key.project.clone(),
    };
    PoolSettings {
        keys: config.keys.iter().map(spec).collect(),
        lite: config.models.lite.clone(),
        flash: config.models.flash.clone(),
        pro: config.models.pro.clone(),
        rpm: limit(config.key_rpm),
        pro_rpm: limit(config.pro_rpm),
        lite_rpd: limit(config.lite_rpd),
        flash_rpd: limit(config.flash_rpd),
        pro_rpd: limit(config.pro_rpd),
        min_interval_ms: config.key_min_interval_ms,
        daily_share: config.key_daily_share,
    }
}

/// Every model of the chains, for `Metrics::new`; some more than once.
pub fn models(config: &Config) -> impl Iterator<Item = &str> {
    let chains = [&config.models.lite, &config.models.flash, &config.models.pro];
    chains.into_iter().flatten().map(String::as_str)
}

fn limit(setting: config::Limit) -> Limit {
    match setting {
        config::Limit::Auto => Limit::Auto,
        config::Limit::Unlimited => Limit::Unlimited,
        config::Limit::Fixed(count) => Limit::Fixed(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_lose_their_text() {
        let config = Config::sample();
        let settings = settings(&config, "salt");
        assert_eq!(settings.keys.len(), config.keys.len());
        for (spec, key) in settings.keys.iter().zip(&config.keys) {
            assert_eq!(spec.fingerprint, fingerprint("salt", &key.secret));
            assert!(!format!("{spec:?}").contains(key.secret.expose()));
        }
        assert!(models(&config).count() >= 3);
    }
}
