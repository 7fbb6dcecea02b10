use super::*;

fn table(name: &str) -> Table {
    Table {
        name: TableName::new("shop", name),
        kind: Kind::Plain,
        is_unlogged: false,
        identity: Identity::Full,
        has_key: true,
        other_keys: Vec::new(),
        large: Vec::new(),
        may_use_schema: true,
        may_read: true,
        hides_rows: false,
        owner: "mig".to_owned(),
        is_owned: true,
    }
}

fn fix(finding: &Finding) -> &str {
    assert_eq!(finding.severity, Severity::Failed, "{finding}");
    finding.fix.as_deref().expect("a fix")
}

#[test]
fn good_tables_pass() {
    let tables = [table("a"), table("b")];
    assert_eq!(readable(&Facts::good(), &tables)[0].severity, Severity::Pass);
    assert_eq!(identities(&tables)[0].severity, Severity::Pass);
    assert!(kinds(Family::PostgreSql, &tables, true).is_empty() && logged(&tables).is_none());
    assert!(owners(&Facts::good(), &tables).is_empty());
}

#[test]
fn each_privilege_is_named_with_its_grant() {
    let tables = [
        Table { may_use_schema: false, may_read: false, ..table("it's") },
        Table { may_use_schema: false, hides_rows: true, ..table("b") },
    ];
    let findings = readable(&Facts::good(), &tables);
    let fixes: Vec<_> = findings.iter().map(fix).collect();
    assert_eq!(
        fixes[..2],
        ["GRANT USAGE ON SCHEMA \"shop\" TO \"mig\"", "GRANT SELECT ON \"shop\".\"it's\" TO \"mig\""]
    );
    assert!(fixes[2].starts_with("ALTER ROLE \"mig\" BYPASSRLS"), "{}", fixes[2]);
    assert_eq!(fixes.len(), 3);
}

#[test]
fn every_table_without_its_old_rows_has_its_statement() {
    let tables = [
        Table { identity: Identity::Default, ..table("a") },
        Table { identity: Identity::Default, has_key: false, ..table("b") },
        Table {
            identity: Identity::Index,
            other_keys: vec!["c_mail".to_owned()],
            large: vec!["note".to_owned()],
            ..table("c")
        },
        Table { identity: Identity::Nothing, ..table("d") },
        table("full"),
        Table { identity: Identity::Default, kind: Kind::Partitioned, ..table("part") },
    ];
    let findings = identities(&tables);
    assert_eq!(findings.len(), 4);
    assert_eq!(fix(&findings[0]), "ALTER TABLE \"shop\".\"a\" REPLICA IDENTITY FULL");
    let lacks = |finding: &Finding, what: &str| finding.message.contains(what);
    assert!(lacks(&findings[2], "unique keys (c_mail)") && lacks(&findings[2], "leaves alone (note)"));
    assert!(!lacks(&findings[0], "unique keys") && lacks(&findings[0], "what the row was"));
    let would_fail: Vec<_> =
        findings.iter().map(|finding| finding.message.contains("would fail on the source")).collect();
    assert_eq!(would_fail, [false, true, false, true]);
}

#[test]
fn very_many_tables_get_a_statement_that_writes_statements() {
    let tables: Vec<_> =
        (0..60).map(|n| Table { identity: Identity::Default, ..table(&format!("t{n}")) }).collect();
    let findings = identities(&tables);
    assert_eq!(findings.len(), TOLD + 1);
    let last = findings.last().expect("findings");
    assert!(last.message.starts_with("10 more") && fix(last).contains("gexec"), "{last}");
}

#[test]
fn what_is_no_table_of_its_own_is_told() {
    let tables = [
        Table { kind: Kind::Partitioned, ..table("p") },
        Table { kind: Kind::Foreign, ..table("f") },
        Table { kind: Kind::Inheritance, ..table("i") },
        Table { is_unlogged: true, ..table("u") },
    ];
    let severities = |family, online| {
        kinds(family, &tables, online).iter().map(|finding| finding.severity).collect::<Vec<_>>()
    };
    for (family, online, partitioned) in [
        (Family::PostgreSql, true, Severity::Note),
        (Family::OpenGauss, true, Severity::Failed),
        (Family::OpenGauss, false, Severity::Note),
    ] {
        assert_eq!(severities(family, online), [Severity::Warning, partitioned, Severity::Failed]);
    }
    assert!(kinds(Family::PostgreSql, &tables, true)[0].message.starts_with("shop.f: "));
    assert!(fix(&logged(&tables).expect("a finding")).contains("\"shop\".\"u\" SET LOGGED"));
}

#[test]
fn tables_of_others_need_their_owner() {
    let tables = [
        Table { is_owned: false, owner: "app".to_owned(), ..table("a") },
        Table { is_owned: false, owner: "app".to_owned(), ..table("b") },
        table("c"),
    ];
    let findings = owners(&Facts::good(), &tables);
    assert_eq!(findings.len(), 1);
    assert!(fix(&findings[0]).starts_with("GRANT \"app\" TO \"mig\", or "));
    assert!(findings[0].message.starts_with("shop.a, shop.b: "), "{}", findings[0]);
}
