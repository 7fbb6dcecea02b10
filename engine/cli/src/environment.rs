//! `${VARIABLE}` in configuration texts.

use engine_core::{Error, ErrorKind, Result};

/// Replaces each `${NAME}` of `text` by what `lookup` has under that name; `$${` stands for `${`.
///
/// A name that `lookup` does not have, and a `${` without its `}`, are usage errors that name the
/// variable and never the text, which may hold a password.
pub(crate) fn substitute(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            result.push_str(literal);
            result.push_str("${");
            rest = after;
            continue;
        }
        result.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            return Err(Error::new(ErrorKind::Usage, "a ${ has no closing }")
                .help("write $${ for the two characters themselves"));
        };
        if name.is_empty() || name.contains(|c: char| c != '_' && !c.is_ascii_alphanumeric()) {
            return Err(Error::new(ErrorKind::Usage, "the name between ${ and } is no variable's name")
                .because("it may hold letters, digits and _ only")
                .help("write $${ for the two characters themselves"));
        }
        let value = lookup(name).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("the environment variable {name} is not set"))
                .help(format!("set it: export {name}=... (or write $${{ for the two characters ${{)"))
        })?;
        result.push_str(&value);
        rest = tail;
    }
    result.push_str(rest);
    Ok(result)
}

/// The process's environment, for [`substitute`].
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_password(name: &str) -> Option<String> {
        (name == "PASSWORD").then(|| "s3cr3t${X}".to_owned())
    }

    #[test]
    fn replaces_variables_once_and_keeps_escapes() {
        let result = substitute("a ${PASSWORD} b $${PASSWORD} c $5 $", &with_password).expect("a good text");
        assert_eq!(result, "a s3cr3t${X} b ${PASSWORD} c $5 $");
    }

    #[test]
    fn names_the_missing_variable_and_not_the_text() {
        let error = substitute("mysql://a:hidden@${HOST}/", &with_password).expect_err("HOST is not set");
        assert_eq!(error.what(), "the environment variable HOST is not set");
        assert!(!error.to_string().contains("hidden"));
    }

    #[test]
    fn refuses_what_is_no_variable() {
        for text in ["${PASSWORD", "${}", "${a b}"] {
            assert_eq!(
                substitute(text, &with_password).expect_err("nonsense").kind(),
                ErrorKind::Usage,
                "{text}"
            );
        }
    }
}
