//! Whether the worker lives, and whether the node is ready. Pure: what is
//! known and what time it is go in.

use std::time::{Duration, Instant};

use crate::{
    clock::BootInstant,
    lifecycle::{Health, Vitals},
};

/// The lifecycle turns twice a minute even where nothing happens; after so
/// long without it hangs.
const LONGEST_TURN: Duration = Duration::from_secs(90);

/// Whether the lifecycle turns. What is wrong with the controller or the node
/// is no reason to restart the worker, and so not asked here.
pub(super) fn alive(vitals: &Vitals, now: Instant) -> Result<(), String> {
    let Some(turned_at) = vitals.turned_at else {
        return Ok(());
    };
    let still = now.saturating_duration_since(turned_at);
    if still > LONGEST_TURN {
        return Err(format!(
            "the worker's lifecycle has not turned for {} s",
            still.as_secs()
        ));
    }
    Ok(())
}

/// Whether the controller hears from the node and will go on to. Time is
/// looked at here and not when the lifecycle turned last, so that it turns red
/// in time even where the lifecycle hangs.
pub(super) fn ready(vitals: &Vitals, now: Instant, boot_now: BootInstant) -> Result<(), String> {
    alive(vitals, now)?;
    if vitals.health == Health::Stopping {
        return Err("the worker is shutting down".to_owned());
    }
    let Some(healthy_until) = vitals.healthy_until else {
        let since = match vitals.health {
            Health::Starting => "the node has not been registered yet",
            _ => "the controller does not hear from the node",
        };
        return Err(format!("{since}; link: {}", vitals.link.as_str()));
    };
    if boot_now >= healthy_until {
        let left = vitals
            .token_expires_at
            .map_or(0, |expires_at| expires_at.since(boot_now).as_secs());
        return Err(format!(
            "the node's token expires in {left} s and could not be renewed"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::LinkStage;

    const EXPIRY: BootInstant = BootInstant::after_boot(Duration::from_secs(1000));
    const RED: BootInstant = BootInstant::after_boot(Duration::from_secs(940));
    const EARLY: BootInstant = BootInstant::after_boot(Duration::from_secs(10));

    fn live(now: Instant) -> Vitals {
        Vitals {
            health: Health::Healthy,
            link: LinkStage::Session,
            healthy_until: Some(RED),
            token_expires_at: Some(EXPIRY),
            reconnects: 0,
            turned_at: Some(now),
        }
    }

    #[test]
    fn a_live_link_is_ready_until_its_token_comes_near_its_end() {
        let now = Instant::now();
        let ready_at = |boot_now| ready(&live(now), now, boot_now);
        assert_eq!(ready_at(EARLY), Ok(()));
        let before = BootInstant::after_boot(Duration::from_millis(939_999));
        assert_eq!(ready_at(before), Ok(()));
        assert_eq!(
            ready_at(RED),
            Err("the node's token expires in 60 s and could not be renewed".to_owned())
        );
        assert!(ready_at(EXPIRY).is_err());
    }

    #[test]
    fn every_reason_is_one_line() {
        let now = Instant::now();
        let down = Vitals {
            healthy_until: None,
            link: LinkStage::Attesting,
            ..live(now)
        };
        for (vitals, words) in [
            (
                Vitals {
                    health: Health::Starting,
                    ..down
                },
                "not been registered yet; link: attesting",
            ),
            (
                Vitals {
                    health: Health::Unhealthy,
                    ..down
                },
                "does not hear",
            ),
            (
                Vitals {
                    health: Health::Stopping,
                    ..live(now)
                },
                "shutting down",
            ),
        ] {
            let reason = ready(&vitals, now, EARLY).expect_err("not ready");
            assert!(reason.contains(words) && !reason.contains('\n'), "{reason}");
            assert_eq!(alive(&vitals, now), Ok(()), "it lives all the same");
        }
    }

    #[test]
    fn a_lifecycle_that_hangs_is_neither_alive_nor_ready() {
        let turned_at = Instant::now();
        let vitals = live(turned_at);
        assert_eq!(alive(&vitals, turned_at + LONGEST_TURN), Ok(()));
        let late = turned_at + LONGEST_TURN + Duration::from_secs(1);
        assert!(alive(&vitals, late).is_err());
        assert!(ready(&vitals, late, EARLY).is_err());
        let ending = Vitals {
            turned_at: None,
            ..vitals
        };
        assert_eq!(alive(&ending, late), Ok(()), "no turn is due any more");
    }
}
