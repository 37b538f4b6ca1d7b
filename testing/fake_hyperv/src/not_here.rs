//! Methods of COM interfaces that a fake does not have: they answer that they are not there.
//!
//! Types are looked up where the macros are used: those of Windows, and short names for what
//! IWbemServices takes.

/// Writes methods that fail with `E_NOTIMPL`: `Name(Type, …) -> Type;`.
#[macro_export]
macro_rules! not_here {
    ($($name:ident($($of:ty),*) $(-> $out:ty)?;)*) => {
        $($crate::not_here!(@one $name, $($of),*; $($out)?);)*
    };
    (@one $name:ident, $($of:ty),*; ) => { $crate::not_here!(@one $name, $($of),*; ()); };
    (@one $name:ident, $a:ty; $out:ty) => {
        fn $name(&self, _: $a) -> Result<$out> { Err(E_NOTIMPL.into()) }
    };
    (@one $name:ident, $a:ty, $b:ty, $c:ty; $out:ty) => {
        fn $name(&self, _: $a, _: $b, _: $c) -> Result<$out> { Err(E_NOTIMPL.into()) }
    };
    (@one $name:ident, $a:ty, $b:ty, $c:ty, $d:ty; $out:ty) => {
        fn $name(&self, _: $a, _: $b, _: $c, _: $d) -> Result<$out> { Err(E_NOTIMPL.into()) }
    };
    (@one $name:ident, $a:ty, $b:ty, $c:ty, $d:ty, $e:ty; $out:ty) => {
        fn $name(&self, _: $a, _: $b, _: $c, _: $d, _: $e) -> Result<$out> {
            Err(E_NOTIMPL.into())
        }
    };
    (@one $name:ident, $a:ty, $b:ty, $c:ty, $d:ty, $e:ty, $f:ty; $out:ty) => {
        fn $name(&self, _: $a, _: $b, _: $c, _: $d, _: $e, _: $f) -> Result<$out> {
            Err(E_NOTIMPL.into())
        }
    };
}

/// Writes the methods of IWbemServices that a client of ours never calls.
#[macro_export]
macro_rules! services_not_here {
    () => {
        $crate::not_here! {
            OpenNamespace(&BSTR, Flags, Context, OutRef<IWbemServices>, Pending);
            CancelAsyncCall(Sink);
            QueryObjectSink(Flags) -> IWbemObjectSink;
            GetObjectAsync(&BSTR, Flags, Context, Sink);
            PutClass(Object, Flags, Context, Pending);
            PutClassAsync(Object, Flags, Context, Sink);
            DeleteClass(&BSTR, Flags, Context, Pending);
            DeleteClassAsync(&BSTR, Flags, Context, Sink);
            CreateClassEnum(&BSTR, Flags, Context) -> IEnumWbemClassObject;
            CreateClassEnumAsync(&BSTR, Flags, Context, Sink);
            PutInstance(Object, Flags, Context, Pending);
            PutInstanceAsync(Object, Flags, Context, Sink);
            DeleteInstance(&BSTR, Flags, Context, Pending);
            DeleteInstanceAsync(&BSTR, Flags, Context, Sink);
            CreateInstanceEnum(&BSTR, Flags, Context) -> IEnumWbemClassObject;
            CreateInstanceEnumAsync(&BSTR, Flags, Context, Sink);
            ExecQueryAsync(&BSTR, &BSTR, Flags, Context, Sink);
            ExecNotificationQuery(&BSTR, &BSTR, Flags, Context) -> IEnumWbemClassObject;
            ExecNotificationQueryAsync(&BSTR, &BSTR, Flags, Context, Sink);
            ExecMethodAsync(&BSTR, &BSTR, Flags, Context, Object, Sink);
        }
    };
}
