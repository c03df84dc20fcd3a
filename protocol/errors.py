"""Every way the protocol can refuse, one exception for each thing a caller can act on."""


class ProtocolError(Exception):
    """Base of every error that ``protocol`` raises on purpose."""


class MalformedMessage(ProtocolError):
    """The bytes are not a message of the expected kind: wrong type, size, field or encoding."""


class MessageTooLarge(MalformedMessage):
    """The message is over its size limit and was not parsed."""


class UnsupportedVersion(MalformedMessage):
    """The message states a protocol version that this code does not speak."""


class QueryNotHeld(ProtocolError):
    """The message names a query by its digest, and whoever got it does not hold that query."""


class SignatureInvalid(ProtocolError):
    """A signature does not verify under the key of the signer that the message names."""


class UnknownSigner(SignatureInvalid):
    """The message names a signer that the site's directory does not list for this duty."""


class PrincipalRevoked(SignatureInvalid):
    """The signer is in the directory but has been revoked."""


class DirectoryRollback(ProtocolError):
    """An older directory (or policy) was offered in place of a newer one."""


class SealError(ProtocolError):
    """A sealed block, share or message could not be opened."""


class KeyCommitmentMismatch(SealError):
    """The key is not the one that the block was sealed under."""


class AuthenticationFailed(SealError):
    """The ciphertext or its header has been altered."""


class ShareInvalid(SealError):
    """A custodian's share does not fit the commitment that the board published."""


class SharesMissing(SealError):
    """Fewer shares than the threshold: at least one root of the epoch is not covered."""


class ScopeExceeded(ProtocolError):
    """A key was asked for outside what a grant (or a punctured tree) covers."""


class ModelMismatch(ProtocolError):
    """Templates of different models were about to be compared."""


class TemplatesDisagree(ProtocolError):
    """Templates that are said to be of one person do not resemble one another."""


class EnvelopeRejected(ProtocolError):
    """A receiver refuses an envelope, announcement or other message from a box."""


class ClockSkew(EnvelopeRejected):
    """The sender's clock is further off than the site allows."""


class NotAuthorized(ProtocolError):
    """A subject query may not open anything, for the reason that the subclass names."""


class ApprovalsMissing(NotAuthorized):
    """Fewer valid approvals than the policy asks for."""


class ApprovalInvalid(NotAuthorized):
    """An approval is not for this query, not by an approver, or not signed properly."""


class RefusalInvalid(NotAuthorized):
    """A refusal is not of this query, not by an approver, or not signed properly."""


class QueryExpired(NotAuthorized):
    """The query is past its not-after time, or not yet valid."""


class QueryWithdrawn(NotAuthorized):
    """The requester withdrew the query, or an approver withdrew an approval that it needs."""


class PolicyViolation(NotAuthorized):
    """The query asks for more than the policy permits."""


class EnrolmentNotWitnessed(PolicyViolation):
    """No second officer stands behind whose templates a query brings."""


class PolicyMismatch(NotAuthorized):
    """The query, an approval or a party refers to another policy than the one held here."""


class ProgrammeEnded(NotAuthorized):
    """The programme's end date has passed: nothing is granted any more."""


class RetentionEnded(NotAuthorized):
    """The day's private key has been destroyed: its sightings can never be opened again."""


class LogError(ProtocolError):
    """Base of what an audit of the logs can find."""


class CheckpointInvalid(LogError):
    """A checkpoint is malformed or not signed by the log it names."""


class LogInconsistent(LogError):
    """Two checkpoints of one log do not describe one append-only history."""


class LogForked(LogInconsistent):
    """Two checkpoints of one size and one log carry different roots."""


class EntryAltered(LogError):
    """The entries of a log do not hash to the root of its checkpoint."""


class ProofInvalid(LogError):
    """A Merkle proof does not show what it should, or there is nothing to prove."""
