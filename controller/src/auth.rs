//! Who may speak: node tokens, challenges, enrolment secrets, the operator's
//! token, and how often an address may try. No store and no RPC lives here.

mod attempts;
mod challenges;
mod node_token;
mod operator_token;
mod secret;

pub use attempts::{Attempts, TooMany};
pub use challenges::{Candidate, Challenge, ChallengeRefused, Challenges};
pub use node_token::{NodeTokens, TokenError, VerifiedToken, capabilities_hash, role_name};
pub use operator_token::{OperatorToken, OperatorTokenError};
pub use secret::{Secret, hash};
