//! Reading a stream for ever.
