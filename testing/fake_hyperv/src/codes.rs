//! WMI's own error codes (Hyper-V spec 16 and the WMI error constants).

/// The call failed.
pub(crate) const FAILED: u32 = 0x8004_1001;
/// There is no such object.
pub(crate) const NOT_FOUND: u32 = 0x8004_1002;
/// The value has another type.
pub(crate) const TYPE_MISMATCH: u32 = 0x8004_1005;
/// Nobody does that here.
pub(crate) const NOT_SUPPORTED: u32 = 0x8004_100C;
/// There is no such namespace.
pub(crate) const INVALID_NAMESPACE: u32 = 0x8004_100E;
/// There is no such class.
pub(crate) const INVALID_CLASS: u32 = 0x8004_1010;
/// The provider does not answer.
pub(crate) const PROVIDER_LOAD_FAILURE: u32 = 0x8004_1013;
/// The query cannot be understood.
pub(crate) const INVALID_QUERY: u32 = 0x8004_1017;
/// There is no such method.
pub(crate) const INVALID_METHOD: u32 = 0x8004_102E;
/// There is no such parameter.
pub(crate) const INVALID_METHOD_PARAMETERS: u32 = 0x8004_102F;
/// WMI shuts down.
pub(crate) const SHUTTING_DOWN: u32 = 0x8004_1033;
/// The class has no such property.
pub(crate) const INVALID_PROPERTY: u32 = 0x8004_1031;
/// The path cannot be understood.
pub(crate) const INVALID_OBJECT_PATH: u32 = 0x8004_103A;
/// The other side of the call is gone.
pub(crate) const RPC_UNAVAILABLE: u32 = 0x8007_06BA;
