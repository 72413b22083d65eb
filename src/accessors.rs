//! The macro that writes the accessors of a stream that wraps another one.

/// Writes `get_ref`, `get_mut`, `get_pin_mut` and `into_inner` of a stream that reads from another one.
///
/// | written | returns |
/// |---|---|
/// | `inner_accessors!(fragments: S, "fragment stream")` | the pinned field `fragments` |
/// | `inner_accessors!(framed.reader: R, "reader")` | the pinned field of a pinned field |
/// | `inner_accessors!(via items: S, "fragment stream")` | what the accessors of `items` return |
///
/// A third text says what `into_inner` loses.
macro_rules! inner_accessors {
    (via $field:ident: $inner:ty, $what:literal $(, $lost:literal)? $(,)?) => {
        $crate::accessors::inner_accessors!(
            @write self, $inner, $what, concat!($($lost)?),
            self.$field.get_ref(),
            self.$field.get_mut(),
            self.project().$field.get_pin_mut(),
            self.$field.into_inner()
        );
    };
    ($field:ident $(. $part:ident)*: $inner:ty, $what:literal $(, $lost:literal)? $(,)?) => {
        $crate::accessors::inner_accessors!(
            @write self, $inner, $what, concat!($($lost)?),
            &self.$field $(. $part)*,
            &mut self.$field $(. $part)*,
            self.project().$field $(.project().$part)*,
            self.$field $(. $part)*
        );
    };
    (@write $self:ident, $inner:ty, $what:literal, $lost:expr,
        $get_ref:expr, $get_mut:expr, $get_pin_mut:expr, $into_inner:expr) => {
        #[doc = concat!("Returns a reference to the ", $what, " that this stream reads from.")]
        pub fn get_ref(&$self) -> &$inner {
            $get_ref
        }

        #[doc = concat!("Returns a mutable reference to the ", $what, " that this stream reads from.")]
        ///
        #[doc = concat!("Do not read from it: anything taken from the ", $what, " here is missing from this stream.")]
        pub fn get_mut(&mut $self) -> &mut $inner {
            $get_mut
        }

        #[doc = concat!("Returns a pinned mutable reference to the ", $what, " that this stream reads from.")]
        ///
        #[doc = concat!("Do not read from it: anything taken from the ", $what, " here is missing from this stream.")]
        pub fn get_pin_mut($self: ::std::pin::Pin<&mut Self>) -> ::std::pin::Pin<&mut $inner> {
            $get_pin_mut
        }

        #[doc = concat!("Consumes this stream and returns the ", $what, " that it reads from.")]
        ///
        #[doc = $lost]
        pub fn into_inner($self) -> $inner {
            $into_inner
        }
    };
}
pub(crate) use inner_accessors;
