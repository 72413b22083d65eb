//! Name patterns: how files are called.

use crate::error::{Error, Result};

/// A name with placeholders of the kind `P`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern<P> {
    pieces: Vec<Piece<P>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece<P> {
    Literal(String),
    Placeholder(P),
}

impl<P: Copy> Pattern<P> {
    /// Reads a pattern with these placeholders, each between braces.
    ///
    /// # Errors
    /// If it has another placeholder, a folder separator, or none at all.
    pub(super) fn parse(pattern: &str, known: &[(&str, P)]) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid_argument(format!("the name pattern {pattern:?} {why}")));
        if pattern.contains(['/', '\\']) {
            return refuse("names a folder: give that to `to_dir`");
        }
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some((literal, behind)) = rest.split_once('{') {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.into()));
            }
            let Some((name, behind)) = behind.split_once('}') else { return refuse("has a { without }") };
            let Some((_, placeholder)) = known.iter().find(|(known, _)| *known == name) else {
                let known: Vec<_> = known.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                return refuse(&format!("has a placeholder other than {}", known.join(", ")));
            };
            pieces.push(Piece::Placeholder(*placeholder));
            rest = behind;
        }
        if pieces.iter().all(|piece| matches!(piece, Piece::Literal(_))) {
            return refuse("has no placeholder, so that every file would replace the one before");
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        Ok(Self { pieces })
    }

    /// One of placeholders and text in turn, beginning with a placeholder.
    pub(super) fn of(pieces: &[(P, &str)]) -> Self {
        let pieces = pieces
            .iter()
            .flat_map(|(placeholder, text)| [Piece::Placeholder(*placeholder), Piece::Literal((*text).into())]);
        Self { pieces: pieces.filter(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty())).collect() }
    }

    /// Whether all placeholders are such.
    #[cfg(feature = "ffmpeg")]
    pub(super) fn has_only(&self, is_such: impl Fn(P) -> bool) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Literal(_) => true,
            Piece::Placeholder(placeholder) => is_such(*placeholder),
        })
    }

    /// The name with this in place of each placeholder.
    pub(super) fn fill(&self, value: impl Fn(P) -> String) -> String {
        let piece = |piece: &Piece<P>| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Placeholder(placeholder) => value(*placeholder),
        };
        self.pieces.iter().map(piece).collect()
    }
}
