//! Reads what a table definition lists: columns, keys, foreign keys.

use engine_core::schema::{IndexKind, ReferentialAction};

use super::lexer::TokenKind;
use super::parse::{Parsed, Parser};
use super::syntax::{CharsetChoice, Column, DataType, Default, Element, ForeignKey, Index, Literal, Part};

impl Parser<'_> {
    /// A column's name, type and attributes.
    pub(super) fn column(&mut self) -> Parsed<Column> {
        let name = self.name()?;
        let mut charset = CharsetChoice::default();
        if self.is("SERIAL") {
            self.next();
            let data_type = DataType { unsigned: true, ..plain("bigint") };
            let mut column = empty(name, data_type, charset);
            (column.nullable, column.auto_increment, column.unique) = (Some(false), true, true);
            self.attributes(&mut column)?;
            return Ok(column);
        }
        let data_type = self.data_type(&mut charset)?;
        let mut column = empty(name, data_type, charset);
        self.attributes(&mut column)?;
        Ok(column)
    }

    fn attributes(&mut self, column: &mut Column) -> Parsed<()> {
        loop {
            if self.take_all(&["NOT", "NULL"]) {
                column.nullable = Some(false);
            } else if self.take("NULL") {
                column.nullable = Some(true);
            } else if self.take("DEFAULT") {
                column.default = Some(self.default()?);
            } else if self.take_all(&["ON", "UPDATE"]) {
                self.now()?.ok_or_else(|| self.unknown())?;
                column.on_update_now = true;
            } else if self.take("AUTO_INCREMENT") {
                column.auto_increment = true;
            } else if self.take("UNIQUE") {
                self.take("KEY");
                column.unique = true;
            } else if self.take_all(&["PRIMARY", "KEY"]) || self.take("KEY") {
                column.primary = true;
            } else if self.take("COMMENT") {
                column.comment = self.text()?;
            } else if self.take("VISIBLE") {
                column.invisible = false;
            } else if self.take("INVISIBLE") {
                column.invisible = true;
            } else if self.take("COLUMN_FORMAT") || self.take("STORAGE") {
                self.name()?;
            } else if self.take("SRID") {
                self.number::<u32>()?;
            } else if self.take("ENGINE_ATTRIBUTE") || self.take("SECONDARY_ENGINE_ATTRIBUTE") {
                self.take_symbol('=');
                self.text()?;
            } else if self.is("CHECK") || self.is("CONSTRAINT") {
                self.check(column)?;
            } else if self.is("GENERATED") || self.is("AS") {
                return Err(format!("the column {} is generated from others", column.name));
            } else if self.is("REFERENCES") {
                return Err(format!(
                    "the column {} has a foreign key in its definition: servers differ in what that does",
                    column.name
                ));
            } else if !self.column_charset(&mut column.charset)? {
                return Ok(());
            }
        }
    }

    /// A check of a column's values, which is not carried over.
    fn check(&mut self, column: &mut Column) -> Parsed<()> {
        if self.take("CONSTRAINT") && !self.is("CHECK") {
            self.name()?;
        }
        self.expect("CHECK")?;
        let condition = self.parenthesised()?;
        let compact: String = condition.chars().filter(|c| !c.is_whitespace() && *c != '`').collect();
        if compact.eq_ignore_ascii_case(&format!("json_valid({})", column.name))
            && column.data_type.name == "longtext"
        {
            // MariaDB logs JSON in either form.
            column.data_type.name = "json";
        } else if compact.to_ascii_lowercase().contains("json_valid") {
            return Err(format!("the check of the column {} may make it JSON", column.name));
        }
        self.take("NOT");
        self.take("ENFORCED");
        Ok(())
    }

    /// The value of a DEFAULT clause.
    pub(super) fn default(&mut self) -> Parsed<Default> {
        if let Some(precision) = self.now()? {
            return Ok(Default::Now(precision));
        }
        if self.take("NULL") {
            return Ok(Default::Null);
        }
        if self.is_symbol('(') {
            return self.parenthesised().map(bare);
        }
        if let Some(literal) = self.literal()? {
            return Ok(Default::Literal(literal));
        }
        // MariaDB takes expressions without parentheses; a call of a function is all that is plain.
        if matches!(self.peek(), Some(TokenKind::Word(_))) {
            let name = self.name()?;
            let arguments = self.parenthesised()?;
            return Ok(Default::Expression(format!("{name}({arguments})")));
        }
        Err(self.unknown())
    }

    /// `CURRENT_TIMESTAMP`, `NOW()` and the like, with the digits of its fraction.
    fn now(&mut self) -> Parsed<Option<u8>> {
        let called =
            |parser: &Self| parser.tokens_ahead(1).is_some_and(|kind| *kind == TokenKind::Symbol('('));
        let bare_word = ["CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP"].iter().any(|word| self.is(word));
        if !(bare_word || self.is("NOW") && called(self)) {
            return Ok(None);
        }
        self.next();
        if !self.take_symbol('(') {
            return Ok(Some(0));
        }
        let precision = if self.is_symbol(')') { 0 } else { self.number()? };
        self.expect_symbol(')')?;
        Ok(Some(precision))
    }

    fn literal(&mut self) -> Parsed<Option<Literal>> {
        let sign = if self.take_symbol('-') {
            "-"
        } else {
            self.take_symbol('+');
            ""
        };
        let literal = match self.peek() {
            Some(TokenKind::Number(digits)) => Literal::Number(format!("{sign}{digits}")),
            _ if !sign.is_empty() => return Err(self.unknown()),
            Some(TokenKind::Text(text)) => Literal::Text(text.clone()),
            Some(TokenKind::Hex(digits)) => Literal::Hex(digits.clone()),
            Some(TokenKind::Bits(digits)) => Literal::Bits(digits.clone()),
            Some(TokenKind::Word(_)) if self.is("TRUE") || self.is("FALSE") => Literal::Bool(self.is("TRUE")),
            _ => return Ok(None),
        };
        self.next();
        if let (Literal::Text(_), Some(TokenKind::Text(_))) = (&literal, self.peek()) {
            return Err("a literal goes on in a second one".to_owned());
        }
        Ok(Some(literal))
    }

    /// A key, a foreign key or a check of a table; `None` where a column begins.
    pub(super) fn key_definition(&mut self) -> Parsed<Option<Element>> {
        let mut constraint = None;
        let named = self.take("CONSTRAINT");
        if named && !["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"].iter().any(|word| self.is(word)) {
            constraint = Some(self.name()?);
        }
        if self.take_all(&["PRIMARY", "KEY"]) {
            // A name is allowed and without meaning.
            if !self.is("USING") && !self.is_symbol('(') {
                self.name()?;
            }
            self.index_type()?;
            let parts = self.parts()?;
            return self
                .index_rest(None, IndexKind::Primary, parts, false)
                .map(|index| Some(Element::Index(index)));
        }
        if self.is("FOREIGN") && self.is_at(1, "KEY") {
            self.take_all(&["FOREIGN", "KEY"]);
            return self.foreign_key(constraint).map(|key| Some(Element::ForeignKey(key)));
        }
        if self.take("CHECK") {
            let condition = self.parenthesised()?;
            if condition.to_ascii_lowercase().contains("json_valid") {
                return Err("a check may make a column JSON".to_owned());
            }
            self.take("NOT");
            self.take("ENFORCED");
            return Ok(Some(Element::Check));
        }
        let prefixed = ["UNIQUE", "FULLTEXT", "SPATIAL"].iter().any(|word| self.is(word));
        let plain = self.is("INDEX") || self.is("KEY");
        if !prefixed && !plain {
            return if named { Err(self.unknown()) } else { Ok(None) };
        }
        let kind = self.index_kind_prefix();
        self.take_any(&["INDEX", "KEY"]);
        let if_not_exists = self.if_not_exists();
        let mut name = constraint;
        if !self.is("USING") && !self.is_symbol('(') {
            name = Some(self.name()?);
        }
        self.index_type()?;
        let parts = self.parts()?;
        self.index_rest(name, kind, parts, if_not_exists).map(|index| Some(Element::Index(index)))
    }

    pub(super) fn index_type(&mut self) -> Parsed<()> {
        while self.take_any(&["USING", "TYPE"]) {
            self.name()?;
        }
        Ok(())
    }

    /// The parts of an index, in parentheses.
    pub(super) fn parts(&mut self) -> Parsed<Vec<Part>> {
        self.expect_symbol('(')?;
        let mut parts = Vec::new();
        loop {
            let (column, prefix) = if self.is_symbol('(') {
                (Err(self.parenthesised()?.to_owned()), None)
            } else {
                let name = self.name()?;
                let mut prefix = None;
                if self.take_symbol('(') {
                    prefix = Some(self.number()?);
                    self.expect_symbol(')')?;
                }
                (Ok(name), prefix)
            };
            let descending = self.take("DESC");
            self.take("ASC");
            parts.push(Part { column, prefix, descending });
            if !self.take_symbol(',') {
                self.expect_symbol(')')?;
                return Ok(parts);
            }
        }
    }

    /// What follows the parts of an index.
    pub(super) fn index_rest(
        &mut self,
        name: Option<String>,
        kind: IndexKind,
        parts: Vec<Part>,
        if_not_exists: bool,
    ) -> Parsed<Index> {
        loop {
            if self.take_any(&["USING", "TYPE"]) {
                self.name()?;
            } else if self.take("COMMENT") {
                self.text()?;
            } else if self.take("KEY_BLOCK_SIZE") {
                self.take_symbol('=');
                self.number::<u64>()?;
            } else if self.take_all(&["WITH", "PARSER"]) {
                self.name()?;
            } else if self.take("ENGINE_ATTRIBUTE") || self.take("SECONDARY_ENGINE_ATTRIBUTE") {
                self.take_symbol('=');
                self.text()?;
            } else if self.is("WITHOUT") && self.is_at(1, "OVERLAPS") {
                return Err(self.unknown());
            } else if !(self.take_any(&["VISIBLE", "INVISIBLE", "IGNORED", "CLUSTERING"])
                || self.take_all(&["NOT", "IGNORED"]))
            {
                return Ok(Index { name, kind, parts, if_not_exists });
            }
        }
    }

    fn foreign_key(&mut self, name: Option<String>) -> Parsed<ForeignKey> {
        if self.if_not_exists() {
            return Err("whether the foreign key was there before is not known".to_owned());
        }
        let index = if self.is_symbol('(') { None } else { Some(self.name()?) };
        let columns = self.names_in_parentheses()?;
        self.expect("REFERENCES")?;
        let parent = self.table()?;
        let parent_columns = self.names_in_parentheses()?;
        let (mut on_delete, mut on_update) = (None, None);
        loop {
            if self.take("MATCH") {
                self.name()?;
            } else if self.take_all(&["ON", "DELETE"]) {
                on_delete = Some(self.action()?);
            } else if self.take_all(&["ON", "UPDATE"]) {
                on_update = Some(self.action()?);
            } else {
                return Ok(ForeignKey { name, index, columns, parent, parent_columns, on_delete, on_update });
            }
        }
    }

    fn action(&mut self) -> Parsed<ReferentialAction> {
        if self.take("RESTRICT") {
            Ok(ReferentialAction::Restrict)
        } else if self.take("CASCADE") {
            Ok(ReferentialAction::Cascade)
        } else if self.take_all(&["SET", "NULL"]) {
            Ok(ReferentialAction::SetNull)
        } else if self.take_all(&["SET", "DEFAULT"]) {
            Ok(ReferentialAction::SetDefault)
        } else if self.take_all(&["NO", "ACTION"]) {
            Ok(ReferentialAction::NoAction)
        } else {
            Err(self.unknown())
        }
    }

    fn data_type(&mut self, charset: &mut CharsetChoice) -> Parsed<DataType> {
        let written = match self.peek() {
            Some(TokenKind::Word(word)) => word.to_ascii_lowercase(),
            _ => return Err(self.unknown()),
        };
        let national = written == "national";
        if national {
            self.next();
            charset.charset = Some("utf8mb3".to_owned());
        }
        let written = match self.peek() {
            Some(TokenKind::Word(word)) => word.to_ascii_lowercase(),
            _ => return Err(self.unknown()),
        };
        let name = match written.as_str() {
            "bool" | "boolean" => {
                self.next();
                return Ok(DataType { arguments: vec![1], ..plain("tinyint") });
            }
            "tinyint" | "int1" => "tinyint",
            "smallint" | "int2" => "smallint",
            "mediumint" | "int3" | "middleint" => "mediumint",
            "int" | "integer" | "int4" => "int",
            "bigint" | "int8" => "bigint",
            "decimal" | "dec" | "numeric" | "fixed" => "decimal",
            "float" | "float4" => "float",
            "real" if self.real_is_float => "float",
            "double" | "float8" | "real" => "double",
            "bit" => "bit",
            "year" => "year",
            "date" => "date",
            "time" => "time",
            "datetime" => "datetime",
            "timestamp" => "timestamp",
            "char" | "character" | "nchar" => "char",
            "varchar" | "varcharacter" | "nvarchar" => "varchar",
            "binary" => "binary",
            "varbinary" => "varbinary",
            "tinytext" => "tinytext",
            "text" => "text",
            "mediumtext" | "long" => "mediumtext",
            "longtext" => "longtext",
            "tinyblob" => "tinyblob",
            "blob" => "blob",
            "mediumblob" => "mediumblob",
            "longblob" => "longblob",
            "enum" => "enum",
            "set" => "set",
            "json" => "json",
            "uuid" => "uuid",
            "inet4" => "inet4",
            "inet6" => "inet6",
            "vector" => "vector",
            "geometry" => "geometry",
            "point" => "point",
            "linestring" => "linestring",
            "polygon" => "polygon",
            "multipoint" => "multipoint",
            "multilinestring" => "multilinestring",
            "multipolygon" => "multipolygon",
            "geometrycollection" | "geomcollection" => "geometrycollection",
            _ => return Err(self.unknown()),
        };
        self.next();
        if written.starts_with('n') && matches!(name, "char" | "varchar") {
            charset.charset = Some("utf8mb3".to_owned());
        }
        let mut data_type = plain(name);
        match written.as_str() {
            "double" => drop(self.take("PRECISION")),
            "char" | "character" | "nchar" if self.take("VARYING") => data_type.name = "varchar",
            "long" if self.take("VARBINARY") => data_type.name = "mediumblob",
            "long" => drop(self.take_any(&["VARCHAR", "TEXT"])),
            _ => {}
        }
        if matches!(name, "enum" | "set") {
            self.expect_symbol('(')?;
            loop {
                // Trailing spaces are not part of a label.
                data_type.labels.push(self.text()?.trim_end_matches(' ').to_owned());
                if !self.take_symbol(',') {
                    break;
                }
            }
            self.expect_symbol(')')?;
        } else if self.take_symbol('(') {
            data_type.arguments.push(self.number()?);
            while self.take_symbol(',') {
                data_type.arguments.push(self.number()?);
            }
            self.expect_symbol(')')?;
        }
        loop {
            if self.take("UNSIGNED") {
                data_type.unsigned = true;
            } else if self.take("ZEROFILL") {
                (data_type.unsigned, data_type.zerofill) = (true, true);
            } else if !self.take("SIGNED") {
                break;
            }
        }
        if data_type.name == "char" && self.take("BYTE") {
            data_type.name = "binary";
        }
        if self.is("COMPRESSED") {
            return Err(self.unknown());
        }
        Ok(data_type)
    }

    fn tokens_ahead(&self, ahead: usize) -> Option<&TokenKind> {
        self.token_at(ahead).map(|token| &token.kind)
    }
}

/// The expression in parentheses, as the server shows it where that is plain.
fn bare(text: &str) -> Default {
    match text.to_ascii_lowercase().as_str() {
        "null" => Default::Null,
        _ => Default::Expression(text.to_owned()),
    }
}

fn plain(name: &'static str) -> DataType {
    DataType { name, arguments: Vec::new(), labels: Vec::new(), unsigned: false, zerofill: false }
}

fn empty(name: String, data_type: DataType, charset: CharsetChoice) -> Column {
    Column {
        name,
        data_type,
        charset,
        nullable: None,
        default: None,
        on_update_now: false,
        auto_increment: false,
        unique: false,
        primary: false,
        invisible: false,
        comment: String::new(),
    }
}
