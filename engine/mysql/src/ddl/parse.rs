//! Reads statements of structure. What isn't known is an error that names it: a clause that is
//! passed over could be one that changes rows.

use engine_core::schema::IndexKind;

use super::lexer::{Token, TokenKind};
use super::syntax::{Alteration, CharsetChoice, Element, Name, Options, Place, Statement};

/// Why a statement can't be followed, in a sentence without a full stop.
pub(super) type Parsed<T> = Result<T, String>;

/// A place in a statement.
pub(super) struct Parser<'t> {
    statement: &'t str,
    tokens: &'t [Token],
    /// `REAL` means `FLOAT`.
    pub(super) real_is_float: bool,
}

/// Reads a statement.
pub(super) fn parse(statement: &str, tokens: &[Token], real_is_float: bool) -> Parsed<Statement> {
    let mut parser = Parser { statement, tokens, real_is_float };
    let parsed = parser.statement()?;
    parser.take_symbol(';');
    match parser.tokens.first() {
        None => Ok(parsed),
        Some(_) => Err(parser.unknown()),
    }
}

impl<'t> Parser<'t> {
    pub(super) fn peek(&self) -> Option<&'t TokenKind> {
        self.tokens.first().map(|token| &token.kind)
    }

    pub(super) fn next(&mut self) -> Option<&'t Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        self.tokens.first().is_some_and(|token| token.is(keyword))
    }

    pub(super) fn is_at(&self, ahead: usize, keyword: &str) -> bool {
        self.tokens.get(ahead).is_some_and(|token| token.is(keyword))
    }

    pub(super) fn is_symbol(&self, symbol: char) -> bool {
        self.peek() == Some(&TokenKind::Symbol(symbol))
    }

    pub(super) fn token_at(&self, ahead: usize) -> Option<&'t Token> {
        self.tokens.get(ahead)
    }

    /// Takes a keyword that is there.
    pub(super) fn take(&mut self, keyword: &str) -> bool {
        let found = self.is(keyword);
        if found {
            self.next();
        }
        found
    }

    /// Takes one of several keywords.
    pub(super) fn take_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.take(keyword))
    }

    /// Takes keywords that follow each other, all or none.
    pub(super) fn take_all(&mut self, keywords: &[&str]) -> bool {
        let found = keywords.iter().enumerate().all(|(ahead, keyword)| self.is_at(ahead, keyword));
        if found {
            self.tokens = self.tokens.get(keywords.len()..).unwrap_or_default();
        }
        found
    }

    pub(super) fn take_symbol(&mut self, symbol: char) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expect(&mut self, keyword: &str) -> Parsed<()> {
        if self.take(keyword) { Ok(()) } else { Err(self.unknown()) }
    }

    pub(super) fn expect_symbol(&mut self, symbol: char) -> Parsed<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unknown()) }
    }

    /// The error for what comes next.
    pub(super) fn unknown(&self) -> String {
        match self.tokens.first() {
            None => "it ends where more was expected".to_owned(),
            Some(first) => {
                let rest = self.statement.get(first.start..).unwrap_or_default();
                let shown: String = rest.chars().take(60).collect();
                format!("this engine does not know what '{shown}' does in it")
            }
        }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.tokens.first().and_then(Token::name) {
            Some(name) => {
                self.next();
                Ok(name.to_owned())
            }
            None => Err(self.unknown()),
        }
    }

    pub(super) fn table(&mut self) -> Parsed<Name> {
        let first = self.name()?;
        if self.take_symbol('.') {
            return Ok(Name { database: Some(first), table: self.name()? });
        }
        Ok(Name { database: None, table: first })
    }

    pub(super) fn text(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(TokenKind::Text(text)) => {
                let text = text.clone();
                self.next();
                Ok(text)
            }
            _ => Err(self.unknown()),
        }
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Parsed<T> {
        match self.peek() {
            Some(TokenKind::Number(digits)) => {
                let number = digits.parse().map_err(|_| self.unknown())?;
                self.next();
                Ok(number)
            }
            _ => Err(self.unknown()),
        }
    }

    /// What stands between parentheses, as written, without them.
    pub(super) fn parenthesised(&mut self) -> Parsed<&'t str> {
        let open = self.tokens.first().map(|token| token.end);
        self.expect_symbol('(')?;
        let mut depth = 1;
        while let Some(token) = self.next() {
            match token.kind {
                TokenKind::Symbol('(') => depth += 1,
                TokenKind::Symbol(')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let text = self.statement.get(open.unwrap_or_default()..token.start);
                return Ok(text.unwrap_or_default().trim());
            }
        }
        Err("a parenthesis is not closed".to_owned())
    }

    pub(super) fn names_in_parentheses(&mut self) -> Parsed<Vec<String>> {
        self.expect_symbol('(')?;
        let mut names = vec![self.name()?];
        while self.take_symbol(',') {
            names.push(self.name()?);
        }
        self.expect_symbol(')')?;
        Ok(names)
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.take_all(&["IF", "EXISTS"])
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.take_all(&["IF", "NOT", "EXISTS"])
    }

    fn statement(&mut self) -> Parsed<Statement> {
        if self.take("CREATE") {
            return self.create();
        }
        if self.take("ALTER") {
            return self.alter();
        }
        if self.take("DROP") {
            return self.drop();
        }
        if self.take("RENAME") {
            return self.rename();
        }
        if self.take("TRUNCATE") {
            self.take("TABLE");
            let table = self.table()?;
            self.wait();
            return Ok(Statement::Truncate { table });
        }
        Err(self.unknown())
    }

    /// How long MariaDB is to wait for a lock.
    fn wait(&mut self) {
        if self.take("WAIT") {
            self.next();
        } else {
            self.take("NOWAIT");
        }
    }

    fn create(&mut self) -> Parsed<Statement> {
        let replaces = self.take_all(&["OR", "REPLACE"]);
        if self.is("TABLE") {
            self.next();
            let if_not_exists = self.if_not_exists();
            let table = self.table()?;
            if self.take("LIKE") {
                let pattern = self.table()?;
                return Ok(Statement::CreateLike { table, replaces, if_not_exists, pattern });
            }
            self.expect_symbol('(')?;
            if self.take("LIKE") {
                let pattern = self.table()?;
                self.expect_symbol(')')?;
                return Ok(Statement::CreateLike { table, replaces, if_not_exists, pattern });
            }
            let mut elements = vec![self.element()?];
            while self.take_symbol(',') {
                elements.push(self.element()?);
            }
            self.expect_symbol(')')?;
            let mut options = Options::default();
            while self.table_option(&mut options)? {
                self.take_symbol(',');
            }
            if self.is("PARTITION") {
                self.skip_partitions()?;
            }
            // The rows of CREATE TABLE … SELECT follow as row events.
            self.take_all(&["START", "TRANSACTION"]);
            return Ok(Statement::Create { table, replaces, if_not_exists, elements, options });
        }
        let kind = self.index_kind_prefix();
        self.expect("INDEX")?;
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        self.index_type()?;
        self.expect("ON")?;
        let table = self.table()?;
        let parts = self.parts()?;
        let index = self.index_rest(Some(name), kind, parts, if_not_exists)?;
        self.wait();
        while self.lock_or_algorithm()? {}
        Ok(Statement::CreateIndex { table, index })
    }

    pub(super) fn index_kind_prefix(&mut self) -> IndexKind {
        self.take_any(&["ONLINE", "OFFLINE"]);
        if self.take("UNIQUE") {
            IndexKind::Unique
        } else if self.take("FULLTEXT") {
            IndexKind::Fulltext
        } else if self.take("SPATIAL") {
            IndexKind::Spatial
        } else {
            IndexKind::Plain
        }
    }

    fn element(&mut self) -> Parsed<Element> {
        match self.key_definition()? {
            Some(element) => Ok(element),
            None => self.column().map(Element::Column),
        }
    }

    fn drop(&mut self) -> Parsed<Statement> {
        self.take_any(&["ONLINE", "OFFLINE"]);
        if self.take("INDEX") {
            let if_exists = self.if_exists();
            let index = self.name()?;
            self.expect("ON")?;
            let table = self.table()?;
            self.wait();
            while self.lock_or_algorithm()? {}
            return Ok(Statement::DropIndex { table, index, if_exists });
        }
        if !self.take_any(&["TABLE", "TABLES"]) {
            return Err(self.unknown());
        }
        self.if_exists();
        let mut tables = vec![self.table()?];
        while self.take_symbol(',') {
            tables.push(self.table()?);
        }
        self.wait();
        self.take_any(&["RESTRICT", "CASCADE"]);
        Ok(Statement::Drop { tables })
    }

    fn rename(&mut self) -> Parsed<Statement> {
        if !self.take_any(&["TABLE", "TABLES"]) {
            return Err(self.unknown());
        }
        self.if_exists();
        let mut pairs = Vec::new();
        loop {
            let from = self.table()?;
            self.wait();
            self.expect("TO")?;
            pairs.push((from, self.table()?));
            if !self.take_symbol(',') {
                return Ok(Statement::Rename { pairs });
            }
        }
    }

    fn alter(&mut self) -> Parsed<Statement> {
        self.take_any(&["ONLINE", "OFFLINE"]);
        if self.is("IGNORE") {
            return Err("ALTER IGNORE leaves out rows".to_owned());
        }
        self.expect("TABLE")?;
        let if_exists = self.if_exists();
        let table = self.table()?;
        self.wait();
        let (mut alterations, mut options) = (Vec::new(), Options::default());
        loop {
            self.alteration(&mut alterations, &mut options)?;
            let separated = self.take_symbol(',');
            match self.peek() {
                None => return Ok(Statement::Alter { table, if_exists, alterations, options }),
                Some(TokenKind::Symbol(';')) if self.tokens.len() == 1 => {
                    return Ok(Statement::Alter { table, if_exists, alterations, options });
                }
                // PARTITION BY follows the rest without a comma, and so may options.
                Some(TokenKind::Word(_)) => {}
                Some(_) if separated => {}
                Some(_) => return Err(self.unknown()),
            }
        }
    }

    fn alteration(&mut self, into: &mut Vec<Alteration>, options: &mut Options) -> Parsed<()> {
        if self.is("PARTITION") {
            return self.skip_partitions();
        }
        let kept = ["REORGANIZE", "COALESCE", "REBUILD", "OPTIMIZE", "ANALYZE", "CHECK", "REPAIR"];
        if self.is_at(1, "PARTITION") && kept.iter().any(|word| self.is(word)) {
            // The only clause there can be; every row stays.
            self.tokens = &[];
            return Ok(());
        }
        if self.lock_or_algorithm()? || self.take("FORCE") || self.take_all(&["REMOVE", "PARTITIONING"]) {
            return Ok(());
        }
        if self.take_all(&["DISABLE", "KEYS"]) || self.take_all(&["ENABLE", "KEYS"]) {
            return Ok(());
        }
        if self.take_all(&["WITH", "VALIDATION"]) || self.take_all(&["WITHOUT", "VALIDATION"]) {
            return Ok(());
        }
        if self.take_all(&["ORDER", "BY"]) {
            // Columns by which rows are stored: the last clause there can be.
            loop {
                self.name()?;
                self.take_any(&["ASC", "DESC"]);
                if !self.take_symbol(',') {
                    return Ok(());
                }
            }
        }
        if self.take_all(&["CONVERT", "TO"]) {
            return Err("it converts every text column of the table to another character set".to_owned());
        }
        if self.take("ADD") {
            return self.add(into);
        }
        if self.take("DROP") {
            into.push(self.drop_part()?);
            return Ok(());
        }
        if self.take("MODIFY") {
            self.take("COLUMN");
            let if_exists = self.if_exists();
            let column = self.column()?;
            let (old, place) = (column.name.clone(), self.place()?);
            into.push(Alteration::Change { old, column, place, if_exists });
            return Ok(());
        }
        if self.take("CHANGE") {
            self.take("COLUMN");
            let if_exists = self.if_exists();
            let old = self.name()?;
            let column = self.column()?;
            into.push(Alteration::Change { old, column, place: self.place()?, if_exists });
            return Ok(());
        }
        if self.take("RENAME") {
            into.push(self.rename_part()?);
            return Ok(());
        }
        if self.take("ALTER") {
            into.extend(self.alter_part()?);
            return Ok(());
        }
        if self.table_option(options)? {
            return Ok(());
        }
        Err(self.unknown())
    }

    fn add(&mut self, into: &mut Vec<Alteration>) -> Parsed<()> {
        if self.take("PARTITION") {
            // New partitions are empty.
            self.tokens = &[];
            return Ok(());
        }
        if let Some(element) = self.key_definition()? {
            into.extend(added(element, None, false));
            return Ok(());
        }
        if self.is("PERIOD") || self.is("SYSTEM") {
            return Err(self.unknown());
        }
        self.take("COLUMN");
        let if_not_exists = self.if_not_exists();
        if self.take_symbol('(') {
            loop {
                into.extend(added(self.element()?, None, if_not_exists));
                if !self.take_symbol(',') {
                    return self.expect_symbol(')');
                }
            }
        }
        let column = self.column()?;
        let place = self.place()?;
        into.extend(added(Element::Column(column), place, if_not_exists));
        Ok(())
    }

    fn place(&mut self) -> Parsed<Option<Place>> {
        if self.take("FIRST") {
            return Ok(Some(Place::First));
        }
        if self.take("AFTER") {
            return Ok(Some(Place::After(self.name()?)));
        }
        Ok(None)
    }

    fn drop_part(&mut self) -> Parsed<Alteration> {
        if self.is("PARTITION") {
            return Err("dropping a partition deletes rows without logging them".to_owned());
        }
        if self.is("PERIOD") || self.is("SYSTEM") {
            return Err(self.unknown());
        }
        if self.take_all(&["PRIMARY", "KEY"]) {
            return Ok(Alteration::DropIndex { name: "PRIMARY".to_owned(), if_exists: false });
        }
        if self.take_all(&["FOREIGN", "KEY"]) {
            let if_exists = self.if_exists();
            return Ok(Alteration::DropForeignKey { name: self.name()?, if_exists });
        }
        if self.take_any(&["INDEX", "KEY"]) {
            let if_exists = self.if_exists();
            return Ok(Alteration::DropIndex { name: self.name()?, if_exists });
        }
        if self.take_any(&["CONSTRAINT", "CHECK"]) {
            let if_exists = self.if_exists();
            return Ok(Alteration::DropConstraint { name: self.name()?, if_exists });
        }
        self.take("COLUMN");
        let if_exists = self.if_exists();
        let column = self.name()?;
        self.take_any(&["RESTRICT", "CASCADE"]);
        Ok(Alteration::Drop { column, if_exists })
    }

    fn rename_part(&mut self) -> Parsed<Alteration> {
        if self.take("COLUMN") {
            self.if_exists();
            let old = self.name()?;
            self.expect("TO")?;
            return Ok(Alteration::RenameColumn { old, new: self.name()? });
        }
        if self.take_any(&["INDEX", "KEY"]) {
            self.if_exists();
            let old = self.name()?;
            self.expect("TO")?;
            return Ok(Alteration::RenameIndex { old, new: self.name()? });
        }
        if !self.take_any(&["TO", "AS"]) {
            self.take_symbol('=');
        }
        Ok(Alteration::Rename(self.table()?))
    }

    /// `None` for what concerns neither structure nor rows.
    fn alter_part(&mut self) -> Parsed<Option<Alteration>> {
        if self.take_any(&["INDEX", "KEY"]) {
            self.if_exists();
            self.name()?;
            if self.take_any(&["VISIBLE", "INVISIBLE", "IGNORED"]) || self.take_all(&["NOT", "IGNORED"]) {
                return Ok(None);
            }
            return Err(self.unknown());
        }
        if self.take_any(&["CHECK", "CONSTRAINT"]) {
            self.name()?;
            self.take("NOT");
            self.expect("ENFORCED")?;
            return Ok(None);
        }
        self.take("COLUMN");
        self.if_exists();
        let column = self.name()?;
        if self.take_all(&["DROP", "DEFAULT"]) {
            return Ok(Some(Alteration::SetDefault { column, default: None }));
        }
        self.expect("SET")?;
        if self.take("DEFAULT") {
            let default = Some(self.default()?);
            return Ok(Some(Alteration::SetDefault { column, default }));
        }
        let visible = self.is("VISIBLE");
        if visible || self.is("INVISIBLE") {
            self.next();
            return Ok(Some(Alteration::SetVisible { column, visible }));
        }
        Err(self.unknown())
    }

    fn lock_or_algorithm(&mut self) -> Parsed<bool> {
        if !self.take_any(&["LOCK", "ALGORITHM"]) {
            return Ok(false);
        }
        self.take_symbol('=');
        self.name()?;
        Ok(true)
    }

    /// Clauses after which rows are in other partitions, and none is gone.
    fn skip_partitions(&mut self) -> Parsed<()> {
        if !self.is_at(1, "BY") {
            return Err(self.unknown());
        }
        self.tokens = &[];
        Ok(())
    }

    /// An option of the table; false when there is none.
    fn table_option(&mut self, options: &mut Options) -> Parsed<bool> {
        /// Options about storage, statistics and the like.
        const WITHOUT_EFFECT: [&str; 24] = [
            "AUTOEXTEND_SIZE",
            "AVG_ROW_LENGTH",
            "CHECKSUM",
            "COMPRESSION",
            "CONNECTION",
            "DELAY_KEY_WRITE",
            "ENCRYPTED",
            "ENCRYPTION",
            "ENCRYPTION_KEY_ID",
            "ENGINE_ATTRIBUTE",
            "KEY_BLOCK_SIZE",
            "MAX_ROWS",
            "MIN_ROWS",
            "PACK_KEYS",
            "PAGE_CHECKSUM",
            "PAGE_COMPRESSED",
            "PAGE_COMPRESSION_LEVEL",
            "ROW_FORMAT",
            "SECONDARY_ENGINE_ATTRIBUTE",
            "STATS_AUTO_RECALC",
            "STATS_PERSISTENT",
            "STATS_SAMPLE_PAGES",
            "TABLESPACE",
            "TRANSACTIONAL",
        ];
        let default = self.is("DEFAULT");
        let ahead = usize::from(default);
        if self.is_at(ahead, "CHARACTER") && self.is_at(ahead + 1, "SET") || self.is_at(ahead, "CHARSET") {
            self.take("DEFAULT");
            if !self.take("CHARSET") {
                self.take_all(&["CHARACTER", "SET"]);
            }
            self.take_symbol('=');
            options.charset.charset = Some(self.charset_name()?);
            return Ok(true);
        }
        if self.is_at(ahead, "COLLATE") {
            self.take("DEFAULT");
            self.next();
            self.take_symbol('=');
            options.charset.collation = Some(self.charset_name()?);
            return Ok(true);
        }
        if default {
            return Ok(false);
        }
        if self.take("ENGINE") {
            self.take_symbol('=');
            options.engine = Some(self.charset_name()?);
            return Ok(true);
        }
        if self.take("COMMENT") {
            self.take_symbol('=');
            options.comment = Some(self.text()?);
            return Ok(true);
        }
        if self.take("AUTO_INCREMENT") {
            self.take_symbol('=');
            options.auto_increment = Some(self.number()?);
            return Ok(true);
        }
        if self.take_any(&WITHOUT_EFFECT) {
            self.take_symbol('=');
            return match self.next().map(|token| &token.kind) {
                Some(
                    TokenKind::Word(_) | TokenKind::Quoted(_) | TokenKind::Text(_) | TokenKind::Number(_),
                ) => Ok(true),
                _ => Err(self.unknown()),
            };
        }
        Ok(false)
    }

    /// The name of a character set, a collation or an engine, quoted or not.
    pub(super) fn charset_name(&mut self) -> Parsed<String> {
        if let Some(TokenKind::Text(_)) = self.peek() {
            return self.text();
        }
        self.name()
    }

    pub(super) fn column_charset(&mut self, choice: &mut CharsetChoice) -> Parsed<bool> {
        if self.take("CHARSET") || self.take_all(&["CHARACTER", "SET"]) || self.take_all(&["CHAR", "SET"]) {
            choice.charset = Some(self.charset_name()?);
        } else if self.take("COLLATE") {
            choice.collation = Some(self.charset_name()?);
        } else if self.take("ASCII") {
            choice.charset = Some("latin1".to_owned());
        } else if self.take("UNICODE") {
            choice.charset = Some("ucs2".to_owned());
        } else if self.take("BINARY") {
            choice.binary = true;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

fn added(element: Element, place: Option<Place>, if_not_exists: bool) -> Option<Alteration> {
    Some(match element {
        Element::Column(column) => Alteration::Add { column, place, if_not_exists },
        Element::Index(index) => Alteration::AddIndex(index),
        Element::ForeignKey(key) => Alteration::AddForeignKey(key),
        Element::Check => return None,
    })
}
