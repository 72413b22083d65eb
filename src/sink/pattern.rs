//! Patterns of file names.

use crate::error::{Error, Result};

/// A file name with placeholders of type `P`.
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
    /// Parses a pattern in which these placeholders stand in braces.
    ///
    /// # Errors
    /// If it has an unknown placeholder, a folder separator, or no placeholder.
    pub(super) fn parse(pattern: &str, known: &[(&str, P)]) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid_argument(format!("the name pattern {pattern:?} {why}")));
        if pattern.contains(['/', '\\']) {
            return refuse("contains a folder separator: the folder is not part of the pattern");
        }
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some((literal, tail)) = rest.split_once('{') {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.into()));
            }
            let Some((name, tail)) = tail.split_once('}') else { return refuse("has a { without a }") };
            let Some((_, placeholder)) = known.iter().find(|(known, _)| *known == name) else {
                let known: Vec<_> = known.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                return refuse(&format!("has an unknown placeholder: the known ones are {}", known.join(", ")));
            };
            pieces.push(Piece::Placeholder(*placeholder));
            rest = tail;
        }
        if pieces.iter().all(|piece| matches!(piece, Piece::Literal(_))) {
            return refuse("has no placeholder, so every file would replace the previous one");
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        Ok(Self { pieces })
    }

    /// Creates a pattern from pairs of a placeholder and the text after it.
    pub(super) fn of(pieces: &[(P, &str)]) -> Self {
        let pieces = pieces
            .iter()
            .flat_map(|(placeholder, text)| [Piece::Placeholder(*placeholder), Piece::Literal((*text).into())]);
        Self { pieces: pieces.filter(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty())).collect() }
    }

    /// Returns `true` if the predicate holds for every placeholder.
    #[cfg(any(feature = "aws", feature = "ffmpeg"))]
    pub(super) fn has_only(&self, predicate: impl Fn(P) -> bool) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Literal(_) => true,
            Piece::Placeholder(placeholder) => predicate(*placeholder),
        })
    }

    /// Returns the name with each placeholder replaced by its value.
    pub(super) fn fill(&self, value: impl Fn(P) -> String) -> String {
        let piece = |piece: &Piece<P>| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Placeholder(placeholder) => value(*placeholder),
        };
        self.pieces.iter().map(piece).collect()
    }
}
