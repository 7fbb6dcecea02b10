//! URLs of servers, which may have options and may lack a database.

/// The server that `OPENGAUSS_URL` names, if it names one.
pub fn given() -> Option<String> {
    std::env::var("OPENGAUSS_URL").ok().filter(|url| !url.is_empty())
}

/// The same server and options with this database.
pub fn with_database(url: &str, database: &str) -> String {
    let (place, options) = split(url);
    let host = place.find("://").map_or(0, |end| end + 3);
    let end = place.get(host..).and_then(|rest| rest.find('/')).map_or(place.len(), |end| host + end);
    let server = place.get(..end).unwrap_or(place);
    match options {
        Some(options) => format!("{server}/{database}?{options}"),
        None => format!("{server}/{database}"),
    }
}

/// The same URL with more options: `name=value`, joined by `&`.
pub fn with_options(url: &str, more: &str) -> String {
    match split(url) {
        (place, Some(options)) => format!("{place}?{options}&{more}"),
        (place, None) => format!("{place}?{more}"),
    }
}

fn split(url: &str) -> (&str, Option<&str>) {
    url.split_once('?').map_or((url, None), |(place, options)| (place, Some(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_and_options_find_their_place() {
        for (url, expected) in [
            ("opengauss://u:p@h:1/postgres", "opengauss://u:p@h:1/shop"),
            ("opengauss://u:p@h:1", "opengauss://u:p@h:1/shop"),
            ("opengauss://u:p@h:1/?sslmode=disable", "opengauss://u:p@h:1/shop?sslmode=disable"),
            ("opengauss://u:p@h/a?x=/b", "opengauss://u:p@h/shop?x=/b"),
        ] {
            assert_eq!(with_database(url, "shop"), expected);
        }
        assert_eq!(with_options("opengauss://h/a", "b=c"), "opengauss://h/a?b=c");
        assert_eq!(with_options("opengauss://h/a?d=e", "b=c&f=g"), "opengauss://h/a?d=e&b=c&f=g");
    }
}
