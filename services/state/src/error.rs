//! The error of a call, classed by what the caller can do. The gRPC edge alone turns it into a status.

use krake_proto::error::{Violation, joined};

use crate::object::mask::MaskError;
use crate::object::wire::Malformed;
use crate::store::StoreError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request violates the schema: correct the named fields.
    #[error("{}", joined(.0))]
    Invalid(Vec<Violation>),
    /// An immutable field differs from the stored one: leave it as it is.
    #[error("{0}")]
    Immutable(Violation),
    /// The update changes nothing, and the request has `reject_unchanged`.
    #[error("the update changes nothing")]
    NothingToUpdate,
    /// There is no such object.
    #[error("{what} does not exist")]
    NotFound {
        /// Kind, name and namespace.
        what: String,
    },
    /// The name is taken.
    #[error("{what} already exists")]
    AlreadyExists {
        /// Kind, name and namespace.
        what: String,
    },
    /// A precondition does not hold: read again and decide again.
    #[error("{message}")]
    Conflict {
        /// Which one, and what is there instead.
        message: String,
        /// The present resource_version; 0 if there is no object.
        resource_version: i64,
    },
    /// The holder of the caller's fence does not lead its election any more: stop acting.
    #[error("krake-fence: the term {fence} of {election} is over; stop acting")]
    Fenced {
        /// Name of the election.
        election: String,
        /// The caller's fence.
        fence: i64,
    },
    /// The caller's ticket does not prove that it has won the term of its fence.
    #[error(
        "krake-ticket: missing, or not the ticket of this term of {election}; send the one that Campaign returned"
    )]
    WrongTicket {
        /// Name of the election.
        election: String,
    },
    /// Finalizers may only be removed while a deletion is in progress, and only be added while none is.
    #[error("{0}")]
    FinalizersInUse(String),
    /// Other objects use the object: delete them first, or use force.
    #[error("{what} is in use: {users}; delete these first, or use force")]
    InUse {
        /// Kind, name and namespace.
        what: String,
        /// The objects that use it, and for what: the first few, and how many more.
        users: String,
    },
    /// The object is being deleted.
    #[error("{0} is being deleted")]
    BeingDeleted(String),
    /// The revision is not kept any more: start over.
    #[error("revision {asked} is no longer kept, the oldest is {oldest}; start over with initial_state")]
    Compacted {
        /// The revision that the request names.
        asked: i64,
        /// The oldest one kept.
        oldest: i64,
    },
    /// The revision belongs to another history of the store: start over.
    #[error("the store was restored since this revision; start over with initial_state")]
    OtherEpoch,
    /// The watcher did not keep up: resume from its last revision.
    #[error("the watch fell behind the changes that are kept; resume from its last resource_version")]
    TooSlow,
    /// A page token that was not made for this request.
    #[error("page_token: was not made for this request; start again without it")]
    PageToken,
    /// The process ends: connect again.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored object cannot be understood.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// One violation.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Error::Invalid(vec![Violation::new(field, description)])
    }
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Error::invalid("", error.to_string())
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Error::Invalid(vec![violation])
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Error::from(Malformed::from(error))
    }
}

impl From<MaskError> for Error {
    fn from(error: MaskError) -> Self {
        match error {
            MaskError::Path(violation) => Error::Invalid(vec![violation]),
            MaskError::Malformed(malformed) => malformed.into(),
        }
    }
}
