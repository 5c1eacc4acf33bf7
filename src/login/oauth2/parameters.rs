//! The parameters of an OAuth request: each at most once, and empty is as if it were not there (RFC 6749, 3.1 and 3.2).

use super::OauthError;

#[derive(Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// `invalid_request` where one is there twice.
    pub fn new(fields: &[(String, String)]) -> Result<Self, OauthError> {
        let mut seen: Vec<(String, String)> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            if seen.iter().any(|(before, _)| before == name) {
                return Err(OauthError::invalid("a parameter is there twice"));
            }
            seen.push((name.clone(), value.clone()));
        }
        Ok(Self(seen))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(field, _)| field == name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// # Errors
    /// `invalid_request` where it is missing.
    pub fn required(&self, name: &'static str) -> Result<&str, OauthError> {
        self.get(name)
            .ok_or_else(|| OauthError::InvalidRequest(format!("{name} is missing")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_parameter_is_there_once_or_not_at_all() {
        let parameters = Parameters::new(&fields(&[("a", "1"), ("b", "")])).unwrap();
        assert_eq!(parameters.get("a"), Some("1"));
        assert_eq!(parameters.get("b"), None);
        assert!(parameters.required("b").is_err());
        assert!(Parameters::new(&fields(&[("a", "1"), ("a", "1")])).is_err());
    }
}
