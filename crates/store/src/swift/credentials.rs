//! Where the right to use a Swift comes from: the variables that other OpenStack programs read, or `clouds.yaml`.

use std::path::PathBuf;

use super::clouds;
use crate::web::Failure;
use crate::web::Secret;
use crate::{Kind, StoreError};

/// How to log in to a Swift. It cannot be printed, and what is secret in it is wiped when it is dropped.
pub struct SwiftCredentials {
    pub(super) method: Method,
    /// Where the objects are, instead of what the login says.
    pub(super) storage_url: Option<String>,
    /// A file with certificates to trust besides those of this machine.
    pub(super) certificates: Option<PathBuf>,
}

/// The ways to log in.
pub(super) enum Method {
    /// Somebody else did, and nobody can again.
    Token(Secret),
    /// The login of Swift itself.
    V1 {
        url: String,
        user: String,
        key: Secret,
    },
    Keystone(Keystone),
}

/// A login at the identity service, version 3.
pub(super) struct Keystone {
    pub(super) url: String,
    pub(super) identity: Identity,
    pub(super) region: Option<String>,
    /// `public`, `internal` or `admin`.
    pub(super) interface: String,
}

/// Who logs in.
pub(super) enum Identity {
    Password { user: Named, password: Secret, project: Named },
    Application { credential: Application, secret: Secret },
}

pub(super) enum Application {
    Id(String),
    Name { name: String, user: Named },
}

/// Something with an id, or with a name that is unique in its domain.
pub(super) enum Named {
    Id(String),
    Name { name: String, domain: Domain },
}

#[derive(Clone)]
pub(super) enum Domain {
    Id(String),
    Name(String),
}

impl SwiftCredentials {
    /// From the environment of this process; [`Kind::PermissionDenied`] names the variable that is missing.
    ///
    /// The first of these that is there counts: `OS_AUTH_TOKEN` with `OS_STORAGE_URL`, `OS_CLOUD` (a name in
    /// `clouds.yaml`), `OS_AUTH_URL` (Keystone, version 3), `ST_AUTH` (version 1).
    pub fn from_environment() -> Result<Self, StoreError> {
        Self::find(|name| std::env::var(name).ok())
    }

    /// The same from any place that knows the values of variables.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Self, StoreError> {
        let values = |name: &str| variable(name).filter(|value| !value.is_empty());
        find(&values).map_err(|failure| failure.into_error("log in to", "", "swift://".to_owned()))
    }
}

fn find(values: &dyn Fn(&str) -> Option<String>) -> Result<SwiftCredentials, Failure> {
    let environment = Settings { values, describe: &|name| format!("{name} is not set") };
    if let (Some(token), Some(url)) = (values("OS_AUTH_TOKEN"), values("OS_STORAGE_URL")) {
        let method = Method::Token(Secret::new(token));
        return Ok(SwiftCredentials {
            method,
            storage_url: Some(url),
            certificates: environment.certificates(),
        });
    }
    if let Some(name) = values("OS_CLOUD") {
        let cloud = clouds::find(&name, values)?;
        let from_cloud = |variable: &str| cloud.value(variable);
        let describe = |variable: &str| cloud.describe_missing(variable);
        return Settings { values: &from_cloud, describe: &describe }.keystone();
    }
    if values("OS_AUTH_URL").is_some() {
        return environment.keystone();
    }
    if let Some(url) = values("ST_AUTH") {
        let (user, key) = (environment.needed("ST_USER")?, Secret::new(environment.needed("ST_KEY")?));
        return Ok(SwiftCredentials {
            method: Method::V1 { url, user, key },
            storage_url: values("OS_STORAGE_URL"),
            certificates: environment.certificates(),
        });
    }
    Err(denied(
        "there are no credentials: set OS_AUTH_URL and what belongs to it, or OS_CLOUD, or ST_AUTH, ST_USER and ST_KEY",
    ))
}

/// The names and values of one place.
struct Settings<'a> {
    values: &'a dyn Fn(&str) -> Option<String>,
    /// A sentence for one that is missing.
    describe: &'a dyn Fn(&str) -> String,
}

impl Settings<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.values)(name).filter(|value| !value.is_empty())
    }

    fn needed(&self, name: &str) -> Result<String, Failure> {
        self.get(name).ok_or_else(|| denied(&(self.describe)(name)))
    }

    fn certificates(&self) -> Option<PathBuf> {
        self.get("OS_CACERT").map(PathBuf::from)
    }

    fn keystone(&self) -> Result<SwiftCredentials, Failure> {
        let url = self.needed("OS_AUTH_URL")?;
        let url = url.trim_end_matches('/');
        if url.ends_with("/v2.0")
            || self.get("OS_IDENTITY_API_VERSION").is_some_and(|version| version.starts_with('2'))
        {
            return Err(denied("only version 3 of Keystone is supported: let OS_AUTH_URL end with /v3"));
        }
        let url = if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") };
        let interface = self.get("OS_INTERFACE").or_else(|| self.get("OS_ENDPOINT_TYPE"));
        // Older programs wrote publicURL.
        let interface = interface.map_or("public".to_owned(), |text| text.trim_end_matches("URL").to_owned());
        let keystone =
            Keystone { url, identity: self.identity()?, region: self.get("OS_REGION_NAME"), interface };
        Ok(SwiftCredentials {
            method: Method::Keystone(keystone),
            storage_url: self.get("OS_STORAGE_URL"),
            certificates: self.certificates(),
        })
    }

    fn identity(&self) -> Result<Identity, Failure> {
        let credential = match self.get("OS_APPLICATION_CREDENTIAL_ID") {
            Some(id) => Some(Application::Id(id)),
            None => match self.get("OS_APPLICATION_CREDENTIAL_NAME") {
                Some(name) => Some(Application::Name { name, user: self.user()? }),
                None => None,
            },
        };
        if let Some(credential) = credential {
            let secret = Secret::new(self.needed("OS_APPLICATION_CREDENTIAL_SECRET")?);
            return Ok(Identity::Application { credential, secret });
        }
        let (user, password) = (self.user()?, Secret::new(self.needed("OS_PASSWORD")?));
        let project = match self.get("OS_PROJECT_ID").or_else(|| self.get("OS_TENANT_ID")) {
            Some(id) => Named::Id(id),
            None => match self.get("OS_TENANT_NAME") {
                Some(name) if self.get("OS_PROJECT_NAME").is_none() => {
                    Named::Name { name, domain: self.domain("PROJECT") }
                }
                _ => Named::Name { name: self.needed("OS_PROJECT_NAME")?, domain: self.domain("PROJECT") },
            },
        };
        Ok(Identity::Password { user, password, project })
    }

    fn user(&self) -> Result<Named, Failure> {
        match self.get("OS_USER_ID") {
            Some(id) => Ok(Named::Id(id)),
            None => Ok(Named::Name { name: self.needed("OS_USERNAME")?, domain: self.domain("USER") }),
        }
    }

    /// The domain of the user or the project; the one that every Keystone has when none is named.
    fn domain(&self, whose: &str) -> Domain {
        let id = self.get(&format!("OS_{whose}_DOMAIN_ID"));
        let name = || self.get(&format!("OS_{whose}_DOMAIN_NAME"));
        let fallback = || Domain::Id(self.get("OS_DEFAULT_DOMAIN").unwrap_or_else(|| "default".to_owned()));
        id.map(Domain::Id).or_else(|| name().map(Domain::Name)).unwrap_or_else(fallback)
    }
}

fn denied(cause: &str) -> Failure {
    Failure::new(Kind::PermissionDenied, cause)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<SwiftCredentials, StoreError> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SwiftCredentials::find(move |name| {
            pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone())
        })
    }

    const USER: [(&str, &str); 3] =
        [("OS_AUTH_URL", "https://keystone:5000/"), ("OS_USERNAME", "ann"), ("OS_PASSWORD", "geheim")];

    #[test]
    fn what_is_missing_is_named() {
        let v1 = [("ST_AUTH", "http://a"), ("ST_USER", "u"), ("ST_KEY", "")];
        for (pairs, name) in [
            (&[][..], "OS_AUTH_URL"),
            (&v1[..1], "ST_USER"),
            (&v1[..2], "ST_KEY"),
            (&v1[..], "ST_KEY"),
            (&USER[..1], "OS_USERNAME"),
            (&USER[..2], "OS_PASSWORD"),
            (&USER[..], "OS_PROJECT_NAME"),
            (&[USER[0], ("OS_APPLICATION_CREDENTIAL_ID", "1")][..], "OS_APPLICATION_CREDENTIAL_SECRET"),
        ] {
            let error = with(pairs).err().unwrap();
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            assert_eq!(error.kind, Kind::PermissionDenied);
            assert!(cause.contains(name), "{cause}");
            assert!(!format!("{error:?}").contains("geheim"));
        }
    }

    #[test]
    fn what_is_there_is_used() {
        let found =
            with(&[&USER[..], &[("OS_TENANT_NAME", "box"), ("OS_INTERFACE", "internalURL")]].concat())
                .unwrap();
        let Method::Keystone(keystone) = &found.method else { panic!("not Keystone") };
        assert_eq!(
            (keystone.url.as_str(), keystone.interface.as_str()),
            ("https://keystone:5000/v3", "internal")
        );
        let Identity::Password { project: Named::Name { name, domain: Domain::Id(id) }, .. } =
            &keystone.identity
        else {
            panic!("no project")
        };
        assert_eq!((name.as_str(), id.as_str()), ("box", "default"));
        let token = [("OS_AUTH_TOKEN", "t"), ("OS_STORAGE_URL", "http://s"), ("OS_CLOUD", "not asked for")];
        assert!(matches!(with(&token).unwrap().method, Method::Token(_)));
        let old = [("OS_AUTH_URL", "https://keystone:5000/v2.0"), ("OS_USERNAME", "ann")];
        assert_eq!(with(&old).err().unwrap().kind, Kind::PermissionDenied);
    }
}
