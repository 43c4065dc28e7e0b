//! Chance that can be repeated.

/// Rounds of a test that does something else each time.
#[derive(Debug)]
pub struct Rounds {
    /// How many.
    pub count: usize,
    state: u64,
}

impl Rounds {
    /// So many rounds unless the variable says another number. The seed is
    /// printed, and is `AEGIS_SEED` where that is set.
    ///
    /// # Panics
    ///
    /// A variable holds no number.
    pub fn begin(variable: &str, count: usize) -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is no number")),
            )
        };
        let seed = number("AEGIS_SEED").unwrap_or_else(|| {
            let random = uuid::Uuid::new_v4();
            random.as_u64_pair().0
        });
        let count = number(variable).map_or(count, |n| usize::try_from(n).unwrap_or(usize::MAX));
        eprintln!("AEGIS_SEED={seed} {variable}={count}");
        Self { count, state: seed }
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // SplitMix64: any seed is good, and one number follows from the last.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
