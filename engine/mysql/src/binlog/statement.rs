//! What a statement in the log means to the stream: a cautious reading of its first words.

use engine_core::schema::TableName;

/// What a Query event does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// A transaction begins.
    Begin,
    /// A distributed transaction begins.
    XaBegin,
    /// The transaction is committed.
    Commit,
    /// The transaction is rolled back.
    Rollback,
    /// Nothing that concerns rows or tables, e.g. `SAVEPOINT`, `GRANT`, `CREATE VIEW`.
    Other,
    /// A prepared distributed transaction is decided.
    XaDecision {
        /// It is committed.
        commit: bool,
    },
    /// `CREATE TABLE … SELECT`, whose rows follow in the same transaction.
    CreateWithRows(Vec<TableName>),
    /// The structure of these tables changes, or they come or go.
    Structure(Vec<TableName>),
    /// A whole database goes.
    DropDatabase(String),
    /// Rows change by the statement itself, not by row events. The names are those of the tables
    /// it writes, or of everything it mentions where that isn't plain.
    Rows(Vec<TableName>),
    /// Not understood.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word outside quotes.
    Word(String),
    /// A name in backticks or double quotes.
    Quoted(String),
    Symbol(char),
    /// A string or number.
    Literal,
}

impl Token {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// Reads a statement that ran with `database` as its default.
pub(crate) fn classify(statement: &str, database: &str) -> Statement {
    // By far the most frequent statement of a log.
    if statement == "BEGIN" {
        return Statement::Begin;
    }
    let tokens = tokenize(statement);
    Reader { tokens: &tokens, database }.statement()
}

struct Reader<'t> {
    tokens: &'t [Token],
    database: &'t str,
}

impl Reader<'_> {
    fn statement(&mut self) -> Statement {
        let Some(first) = self.next() else { return Statement::Other };
        let Token::Word(word) = first else { return Statement::Unknown };
        match word.to_ascii_uppercase().as_str() {
            "BEGIN" => Statement::Begin,
            "START" if self.peek_is("TRANSACTION") => Statement::Begin,
            "COMMIT" => Statement::Commit,
            "ROLLBACK" if self.tokens.iter().any(|token| token.is("TO")) => Statement::Other,
            "ROLLBACK" => Statement::Rollback,
            "XA" if self.peek_is("START") || self.peek_is("BEGIN") => Statement::XaBegin,
            "XA" if self.peek_is("COMMIT") || self.peek_is("ROLLBACK") => {
                Statement::XaDecision { commit: self.peek_is("COMMIT") }
            }
            "XA" | "SAVEPOINT" | "RELEASE" | "GRANT" | "REVOKE" | "SET" | "FLUSH" | "ANALYZE"
            | "OPTIMIZE" | "REPAIR" | "CHECK" | "INSTALL" | "UNINSTALL" | "USE" | "RESET" | "KILL"
            | "SHUTDOWN" | "LOCK" | "UNLOCK" => Statement::Other,
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop(),
            "RENAME" => self.rename(),
            "TRUNCATE" => {
                self.skip("TABLE");
                self.structure_of_next()
            }
            "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "LOAD" | "WITH" | "CALL" | "DO" | "IMPORT" => {
                self.rows(&word)
            }
            _ => Statement::Unknown,
        }
    }

    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn peek_is(&self, keyword: &str) -> bool {
        self.tokens.first().is_some_and(|token| token.is(keyword))
    }

    fn skip(&mut self, keyword: &str) -> bool {
        let found = self.peek_is(keyword);
        if found {
            self.next();
        }
        found
    }

    fn skip_any(&mut self, keywords: &[&str]) {
        while keywords.iter().any(|keyword| self.skip(keyword)) {}
    }

    /// A table name, with the default database when it has none of its own.
    fn table(&mut self) -> Option<TableName> {
        let first = self.next()?.name()?.to_owned();
        if self.tokens.first() == Some(&Token::Symbol('.')) {
            self.next();
            return Some(TableName::new(first, self.next()?.name()?));
        }
        Some(TableName::new(self.database, first))
    }

    fn structure_of_next(&mut self) -> Statement {
        match self.table() {
            Some(table) => Statement::Structure(vec![table]),
            None => Statement::Unknown,
        }
    }

    fn after(&mut self, keyword: &str) -> bool {
        while let Some(token) = self.next() {
            if token.is(keyword) {
                return true;
            }
        }
        false
    }

    fn create(&mut self) -> Statement {
        if self.skip("OR") {
            self.skip("REPLACE");
        }
        if self.skip("TEMPORARY") {
            return Statement::Other;
        }
        self.skip_any(&["UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "OFFLINE"]);
        if self.skip("INDEX") {
            return if self.after("ON") { self.structure_of_next() } else { Statement::Unknown };
        }
        if !self.skip("TABLE") {
            return if self.names_another_object() { Statement::Other } else { Statement::Unknown };
        }
        self.skip_any(&["IF", "NOT", "EXISTS"]);
        let Some(table) = self.table() else { return Statement::Unknown };
        // Since MySQL 8.0.21 the rows of CREATE TABLE … SELECT follow in the same transaction.
        let rows_follow = self.tokens.windows(2).any(
            |pair| matches!(pair, [start, transaction] if start.is("START") && transaction.is("TRANSACTION")),
        );
        if rows_follow { Statement::CreateWithRows(vec![table]) } else { Statement::Structure(vec![table]) }
    }

    /// Whether the next words name something that is no table.
    fn names_another_object(&self) -> bool {
        const OBJECTS: [&str; 24] = [
            "VIEW",
            "TRIGGER",
            "PROCEDURE",
            "FUNCTION",
            "EVENT",
            "USER",
            "ROLE",
            "SERVER",
            "TABLESPACE",
            "LOGFILE",
            "SEQUENCE",
            "PACKAGE",
            "RESOURCE",
            "DEFINER",
            "ALGORITHM",
            "SQL",
            "AGGREGATE",
            "DATABASE",
            "SCHEMA",
            "UNDO",
            "INSTANCE",
            "LIBRARY",
            "SPATIAL",
            "REFERENCE",
        ];
        self.tokens.first().is_some_and(|token| OBJECTS.iter().any(|object| token.is(object)))
    }

    fn alter(&mut self) -> Statement {
        self.skip_any(&["ONLINE", "OFFLINE", "IGNORE"]);
        if !self.skip("TABLE") {
            return if self.names_another_object() { Statement::Other } else { Statement::Unknown };
        }
        self.skip_any(&["IF", "EXISTS"]);
        let Some(table) = self.table() else { return Statement::Unknown };
        let mut tables = vec![table];
        // RENAME [TO | AS] other, but not RENAME COLUMN, INDEX or KEY.
        while self.after("RENAME") {
            if ["COLUMN", "INDEX", "KEY"].iter().any(|object| self.peek_is(object)) {
                continue;
            }
            self.skip_any(&["TO", "AS"]);
            tables.extend(self.table());
        }
        Statement::Structure(tables)
    }

    fn drop(&mut self) -> Statement {
        if self.skip("TEMPORARY") {
            return Statement::Other;
        }
        if self.skip("DATABASE") || self.skip("SCHEMA") {
            self.skip_any(&["IF", "EXISTS"]);
            return match self.next().as_ref().and_then(Token::name) {
                Some(name) => Statement::DropDatabase(name.to_owned()),
                None => Statement::Unknown,
            };
        }
        self.skip_any(&["ONLINE", "OFFLINE"]);
        if self.skip("INDEX") {
            return if self.after("ON") { self.structure_of_next() } else { Statement::Unknown };
        }
        if self.skip("TABLE") || self.skip("TABLES") {
            self.skip_any(&["IF", "EXISTS"]);
            return self.list();
        }
        let passes = self.names_another_object() || self.peek_is("PREPARE");
        if passes { Statement::Other } else { Statement::Unknown }
    }

    fn list(&mut self) -> Statement {
        let mut tables = Vec::new();
        loop {
            let Some(table) = self.table() else { return Statement::Unknown };
            tables.push(table);
            if self.tokens.first() != Some(&Token::Symbol(',')) {
                return Statement::Structure(tables);
            }
            self.next();
        }
    }

    fn rename(&mut self) -> Statement {
        if self.skip("USER") {
            return Statement::Other;
        }
        if !self.skip("TABLE") && !self.skip("TABLES") {
            return Statement::Unknown;
        }
        let mut tables = Vec::new();
        loop {
            self.skip_any(&["IF", "EXISTS"]);
            let (Some(from), true) = (self.table(), self.skip("TO")) else { return Statement::Unknown };
            let Some(to) = self.table() else { return Statement::Unknown };
            tables.extend([from, to]);
            if self.tokens.first() != Some(&Token::Symbol(',')) {
                return Statement::Structure(tables);
            }
            self.next();
        }
    }

    fn rows(&mut self, verb: &str) -> Statement {
        let everything = self.mentioned();
        let is = |keyword: &str| verb.eq_ignore_ascii_case(keyword);
        self.skip_any(&[
            "LOW_PRIORITY",
            "DELAYED",
            "HIGH_PRIORITY",
            "QUICK",
            "IGNORE",
            "CONCURRENT",
            "LOCAL",
        ]);
        let plain = if is("INSERT") || is("REPLACE") {
            self.skip("INTO");
            true
        } else if is("DELETE") {
            self.skip("FROM")
        } else if is("LOAD") {
            self.after("INTO") && self.skip("TABLE")
        } else {
            is("UPDATE")
        };
        let Some(table) = self.table().filter(|_| plain) else { return Statement::Rows(everything) };
        // A second table before SET or WHERE makes the statement one over several tables.
        let several =
            matches!(self.tokens.first(), Some(Token::Symbol(','))) && !is("INSERT") && !is("REPLACE")
                || (is("UPDATE") || is("DELETE"))
                    && self.tokens.iter().any(|token| token.is("JOIN") || token.is("USING"));
        Statement::Rows(if several { everything } else { vec![table] })
    }

    /// Every name in the rest of the statement that could be a table.
    fn mentioned(&self) -> Vec<TableName> {
        let mut names = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let Some(name) = token.name() else { continue };
            names.push(TableName::new(self.database, name));
            if let (Some(Token::Symbol('.')), Some(second)) =
                (self.tokens.get(index + 1), self.tokens.get(index + 2).and_then(Token::name))
            {
                names.push(TableName::new(name, second));
            }
        }
        names
    }
}

/// Cuts a statement into tokens; comments go, but the contents of `/*! … */` stay.
fn tokenize(statement: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = statement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '`' | '"' => {
                let mut name = String::new();
                while let Some(inner) = chars.next() {
                    if inner == c && chars.next_if_eq(&c).is_none() {
                        break;
                    }
                    name.push(inner);
                }
                tokens.push(Token::Quoted(name));
            }
            '\'' => {
                while let Some(inner) = chars.next() {
                    if inner == '\\' {
                        chars.next();
                    } else if inner == '\'' && chars.next_if_eq(&'\'').is_none() {
                        break;
                    }
                }
                tokens.push(Token::Literal);
            }
            '#' => while chars.next().is_some_and(|inner| inner != '\n') {},
            '-' if chars.peek() == Some(&'-') => while chars.next().is_some_and(|inner| inner != '\n') {},
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let versioned = chars.next_if_eq(&'!').is_some()
                    || chars.next_if_eq(&'M').is_some_and(|_| chars.next_if_eq(&'!').is_some());
                if versioned {
                    while chars.next_if(char::is_ascii_digit).is_some() {}
                    continue;
                }
                let mut previous = ' ';
                for inner in chars.by_ref() {
                    if previous == '*' && inner == '/' {
                        break;
                    }
                    previous = inner;
                }
            }
            '*' if chars.peek() == Some(&'/') => {
                chars.next();
            }
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some(inner) = chars.next_if(|&inner| is_word(inner)) {
                    word.push(inner);
                }
                tokens.push(Token::Word(word));
            }
            c if c.is_whitespace() => {}
            other => tokens.push(Token::Symbol(other)),
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(names: &[&str]) -> Vec<TableName> {
        names
            .iter()
            .map(|name| {
                name.split_once('.').map_or(TableName::new("d", *name), |(a, b)| TableName::new(a, b))
            })
            .collect()
    }

    #[test]
    fn structure() {
        for (statement, tables) in [
            ("CREATE TABLE t (a int)", &["t"][..]),
            ("create table if not exists `x`.`t` like y", &["x.t"]),
            ("CREATE OR REPLACE TABLE t (a int)", &["t"]),
            (
                "/* gen */ ALTER TABLE `a``b` ADD c int, RENAME COLUMN x TO y, RENAME TO e.t2",
                &["a`b", "e.t2"],
            ),
            ("ALTER IGNORE TABLE t DROP x", &["t"]),
            ("CREATE UNIQUE INDEX i ON t (a)", &["t"]),
            ("DROP INDEX i ON `x`.t", &["x.t"]),
            ("DROP TABLE IF EXISTS `a`,b.c /* generated by server */", &["a", "b.c"]),
            ("RENAME TABLE a TO _a_old, _a_new TO a", &["a", "_a_old", "_a_new", "a"]),
            ("TRUNCATE t", &["t"]),
            ("TRUNCATE TABLE x.t", &["x.t"]),
            ("/*!40000 ALTER TABLE `t` DISABLE KEYS */", &["t"]),
        ] {
            assert_eq!(classify(statement, "d"), Statement::Structure(names(tables)), "{statement}");
        }
        assert_eq!(
            classify("CREATE TABLE `t2` (\n `a` int\n) START TRANSACTION", "d"),
            Statement::CreateWithRows(names(&["t2"]))
        );
        assert_eq!(
            classify("DROP DATABASE IF EXISTS `shop`", ""),
            Statement::DropDatabase("shop".to_owned())
        );
    }

    #[test]
    fn what_passes_by() {
        for statement in [
            "CREATE TEMPORARY TABLE t (a int)",
            "DROP TEMPORARY TABLE IF EXISTS `t`",
            "CREATE DEFINER=`u`@`h` TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
            "CREATE ALGORITHM=UNDEFINED VIEW v AS SELECT 1",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "GRANT ALL ON *.* TO u",
            "SAVEPOINT `a`",
            "ROLLBACK TO `a`",
            "ROLLBACK WORK TO SAVEPOINT a",
            "CREATE USER u",
            "ANALYZE TABLE t",
            "XA END X'61',X'',1",
            "# nothing",
        ] {
            assert_eq!(classify(statement, "d"), Statement::Other, "{statement}");
        }
    }

    #[test]
    fn ends_and_beginnings() {
        assert_eq!(classify("begin", ""), Statement::Begin);
        assert_eq!(classify("COMMIT /* implicit, from Xid_log_event */", ""), Statement::Commit);
        assert_eq!(classify("ROLLBACK", ""), Statement::Rollback);
        assert_eq!(classify("XA START X'61',X'',1", ""), Statement::XaBegin);
        assert_eq!(classify("XA COMMIT X'61',X'',1 ONE PHASE", ""), Statement::XaDecision { commit: true });
    }

    #[test]
    fn rows_by_statement() {
        for (statement, tables) in [
            ("INSERT INTO t VALUES (1)", &["t"][..]),
            ("insert ignore x.t select * from y", &["x.t"]),
            ("DELETE FROM `x`.`m`", &["x.m"]),
            ("UPDATE t SET a = 1 WHERE b IN (1, 2)", &["t"]),
            ("LOAD DATA LOCAL INFILE 'f' INTO TABLE `t` FIELDS TERMINATED BY ','", &["t"]),
        ] {
            assert_eq!(classify(statement, "d"), Statement::Rows(names(tables)), "{statement}");
        }
        let Statement::Rows(several) = classify("UPDATE a, x.b SET a.c = 1", "d") else { panic!("rows") };
        assert!(several.contains(&TableName::new("d", "a")) && several.contains(&TableName::new("x", "b")));
    }

    #[test]
    fn the_rest_is_not_understood() {
        for statement in ["FROBNICATE t", "CREATE WIDGET w", "(SELECT 1)", "DROP TABLE", "RENAME TABLE a"] {
            assert_eq!(classify(statement, "d"), Statement::Unknown, "{statement}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(statement in "((CREATE|DROP|ALTER|RENAME|TABLE|UPDATE|TO|ON|,|`|\\.|/\\*!|\\*/|'|\\PC) ?)*") {
            let _ = classify(&statement, "d");
        }
    }
}
