//! Statements into tokens that keep what they say: the text of literals and the place in the
//! statement.

use crate::server::{Flavor, Server};

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A word outside quotes: a keyword or a name.
    Word(String),
    /// A quoted name.
    Quoted(String),
    /// A string literal, unescaped.
    Text(String),
    /// A number without sign, as written.
    Number(String),
    /// Digits of `x'…'` or `0x…`.
    Hex(String),
    /// Digits of `b'…'` or `0b…`.
    Bits(String),
    /// Any other character.
    Symbol(char),
}

/// A token and the bytes of the statement that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(&self.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn name(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Word(name) | TokenKind::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// How the session that ran the statement read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dialect {
    /// `"…"` is a name.
    pub(super) ansi_quotes: bool,
    /// A backslash in a string is itself.
    pub(super) plain_backslashes: bool,
}

/// Cuts a statement into tokens; `Err` says what in it can't be read.
pub(super) fn tokenize(statement: &str, dialect: Dialect, server: &Server) -> Result<Vec<Token>, String> {
    Lexer { text: statement, at: 0, dialect, server, tokens: Vec::new(), conditional: false }.run()
}

struct Lexer<'s> {
    text: &'s str,
    at: usize,
    dialect: Dialect,
    server: &'s Server,
    tokens: Vec<Token>,
    /// Inside `/*! … */` whose contents count.
    conditional: bool,
}

impl Lexer<'_> {
    fn run(mut self) -> Result<Vec<Token>, String> {
        while let Some(c) = self.peek() {
            let start = self.at;
            let kind = match c {
                c if c.is_whitespace() => {
                    self.bump();
                    continue;
                }
                '`' => TokenKind::Quoted(self.quoted('`', true)?),
                '"' if self.dialect.ansi_quotes => TokenKind::Quoted(self.quoted('"', true)?),
                '\'' | '"' => TokenKind::Text(self.quoted(c, self.dialect.plain_backslashes)?),
                '#' => {
                    self.skip_line();
                    continue;
                }
                '-' if self.follows("--") => {
                    self.skip_line();
                    continue;
                }
                '/' if self.follows("/*") => {
                    self.comment()?;
                    continue;
                }
                '*' if self.conditional && self.follows("*/") => {
                    self.conditional = false;
                    self.at += 2;
                    continue;
                }
                '.' if self.digit_at(1) && !self.after_name() => self.number(),
                c if c.is_ascii_digit() => self.number(),
                c if is_word(c) => self.word()?,
                other => {
                    self.bump();
                    TokenKind::Symbol(other)
                }
            };
            self.tokens.push(Token { kind, start, end: self.at });
        }
        Ok(self.tokens)
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn follows(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    fn digit_at(&self, ahead: usize) -> bool {
        self.rest().as_bytes().get(ahead).is_some_and(u8::is_ascii_digit)
    }

    /// Whether a point would stand between two parts of a name.
    fn after_name(&self) -> bool {
        self.tokens.last().is_some_and(|token| token.end == self.at && token.name().is_some())
    }

    fn skip_line(&mut self) {
        self.at = self.rest().find('\n').map_or(self.text.len(), |end| self.at + end + 1);
    }

    /// Skips a comment, or goes into one whose contents this server runs.
    fn comment(&mut self) -> Result<(), String> {
        let maria_only = self.follows("/*M!");
        let contents = if maria_only { 4 } else { 3 };
        if !maria_only && !self.follows("/*!") || maria_only && self.server.flavor == Flavor::MySql {
            let end = self.rest().find("*/").ok_or("a comment has no end")?;
            self.at += end + 2;
            return Ok(());
        }
        let body = self.at + contents;
        let digits = self.text.get(body..).unwrap_or_default();
        let digits = digits.bytes().take(6).take_while(u8::is_ascii_digit).count();
        let version = self.text.get(body..body + digits).unwrap_or_default();
        let runs = match digits {
            0 => true,
            5 | 6 => self.runs(version.parse().unwrap_or(u32::MAX), maria_only),
            _ => return Err("a comment names a version in an unknown form".to_owned()),
        };
        if runs {
            self.conditional = true;
            self.at = body + digits;
        } else {
            let end = self.rest().find("*/").ok_or("a comment has no end")?;
            self.at += end + 2;
        }
        Ok(())
    }

    /// Whether the server runs what is for `version` and later.
    fn runs(&self, version: u32, maria_only: bool) -> bool {
        let (major, minor, patch) = self.server.version_number;
        let own = u32::from(major) * 10_000 + u32::from(minor) * 100 + u32::from(patch);
        // MariaDB leaves alone what is for MySQL 5.7 and later.
        let mysql_only =
            self.server.flavor == Flavor::MariaDb && !maria_only && (50_700..=99_999).contains(&version);
        version <= own && !mysql_only
    }

    fn quoted(&mut self, quote: char, plain: bool) -> Result<String, String> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump().ok_or("a quote is not closed")? {
                c if c == quote => {
                    if self.peek() != Some(quote) {
                        return Ok(text);
                    }
                    self.bump();
                    text.push(quote);
                }
                '\\' if !plain => match self.bump().ok_or("a quote is not closed")? {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    '0' => text.push('\0'),
                    'Z' => text.push('\u{1a}'),
                    'b' => text.push('\u{8}'),
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
    }

    fn number(&mut self) -> TokenKind {
        for (prefix, kind) in [("0x", TokenKind::Hex as fn(String) -> TokenKind), ("0b", TokenKind::Bits)] {
            if let Some(digits) = self.rest().strip_prefix(prefix) {
                let length = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
                let digits = digits.get(..length).unwrap_or_default().to_owned();
                self.at += prefix.len() + length;
                return kind(digits);
            }
        }
        let start = self.at;
        while let Some(c) = self.peek() {
            let exponent = matches!(c, 'e' | 'E')
                && (self.digit_at(1)
                    || matches!(self.rest().as_bytes().get(1), Some(b'-' | b'+')) && self.digit_at(2));
            if exponent {
                self.at += 2;
            } else if c.is_ascii_digit() || c == '.' {
                self.at += 1;
            } else if is_word(c) {
                // A name may begin with digits.
                while self.peek().is_some_and(is_word) {
                    self.bump();
                }
                return TokenKind::Word(self.text.get(start..self.at).unwrap_or_default().to_owned());
            } else {
                break;
            }
        }
        TokenKind::Number(self.text.get(start..self.at).unwrap_or_default().to_owned())
    }

    fn word(&mut self) -> Result<TokenKind, String> {
        let start = self.at;
        while self.peek().is_some_and(is_word) {
            self.bump();
        }
        let word = self.text.get(start..self.at).unwrap_or_default().to_owned();
        if self.peek() == Some('\'') {
            if word.eq_ignore_ascii_case("x") {
                return self.quoted('\'', true).map(TokenKind::Hex);
            }
            if word.eq_ignore_ascii_case("b") {
                return self.quoted('\'', true).map(TokenKind::Bits);
            }
        }
        Ok(TokenKind::Word(word))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::tests::server;
    use proptest::prelude::*;

    fn words(statement: &str, flavor: Flavor) -> String {
        let tokens = tokenize(statement, Dialect::default(), &server(flavor)).expect("readable");
        let show = |token: &Token| match &token.kind {
            TokenKind::Word(text) => text.clone(),
            TokenKind::Quoted(text) => format!("`{text}`"),
            TokenKind::Text(text) => format!("'{text}'"),
            TokenKind::Number(text) => format!("#{text}"),
            TokenKind::Hex(text) => format!("x{text}"),
            TokenKind::Bits(text) => format!("b{text}"),
            TokenKind::Symbol(symbol) => symbol.to_string(),
        };
        tokens.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn literals_and_names() {
        assert_eq!(
            words(r"a `b``c` 'it''s\n' 1.5e-3 .5 0x1F x'ab' b'101' d.1e 2col", Flavor::MySql),
            "a `b`c` 'it's\n' #1.5e-3 #.5 x1F xab b101 d . 1e 2col"
        );
    }

    #[test]
    fn comments_count_where_the_server_runs_them() {
        let statement = "a /* b */ /*!80013 c */ /*!999999 d */ /*M! e */ /*!50100 f */ -- g\n# h\n i";
        assert_eq!(words(statement, Flavor::MySql), "a c f i");
        assert_eq!(words(statement, Flavor::MariaDb), "a e f i");
    }

    #[test]
    fn what_is_open_is_said() {
        for open in ["'a", "`a", "/* a"] {
            assert!(tokenize(open, Dialect::default(), &server(Flavor::MySql)).is_err(), "{open}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "([`'\"]|/\\*!?|\\*/|0x|[0-9.e-]|\\\\|\\PC)*") {
            let _ = tokenize(&text, Dialect::default(), &server(Flavor::MySql));
        }
    }
}
