//! `clouds.yaml`: the file of other OpenStack programs with a name for each cloud, and `secure.yaml` beside it, where
//! some keep the passwords.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::Kind;
use crate::web::Failure;
use crate::web::Secret;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    clouds: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: BTreeMap<String, Secret>,
    region_name: Option<String>,
    interface: Option<String>,
    cacert: Option<String>,
    identity_api_version: Option<String>,
    object_store_endpoint_override: Option<String>,
}

/// One cloud of the file.
pub(super) struct Cloud {
    name: String,
    file: PathBuf,
    entry: Entry,
}

/// Finds a cloud in the file that `OS_CLIENT_CONFIG_FILE` names, or in the first that is there of the usual ones.
pub(super) fn find(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Cloud, Failure> {
    let places = places(variable);
    for file in &places {
        if let Some(text) = read(file)? {
            let entry = parse(&text, file)?.clouds.remove(name);
            let mut entry =
                entry.ok_or_else(|| denied(format!("there is no cloud '{name}' in {}", file.display())))?;
            let secure = file.with_file_name("secure.yaml");
            if let Some(text) = read(&secure)? {
                let more = parse(&text, &secure)?.clouds.remove(name).unwrap_or_default();
                entry.auth.extend(more.auth);
            }
            return Ok(Cloud { name: name.to_owned(), file: file.clone(), entry });
        }
    }
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Err(denied(format!(
        "OS_CLOUD is '{name}', but there is no clouds.yaml: looked for {}",
        places.join(", ")
    )))
}

fn places(variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    if let Some(file) = variable("OS_CLIENT_CONFIG_FILE") {
        return vec![file.into()];
    }
    let of_home = || Some(Path::new(&variable("HOME")?).join(".config"));
    let own = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(of_home);
    let folders =
        [Some(PathBuf::from(".")), own.map(|own| own.join("openstack")), Some("/etc/openstack".into())];
    folders.into_iter().flatten().map(|folder| folder.join("clouds.yaml")).collect()
}

/// The text of a file; nothing when it is not there.
fn read(file: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    let failed = |error: io::Error| denied(format!("cannot read {}: {error}", file.display()));
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            Err(denied(format!("{} is too large to be what it should be", file.display())))
        }
        Ok(_) => Ok(Some(Zeroizing::new(fs::read_to_string(file).map_err(failed)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Understands a file. The reader's own message would quote lines with passwords.
fn parse(text: &str, file: &Path) -> Result<File, Failure> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|place| format!(" (line {})", place.line())).unwrap_or_default();
        denied(format!("{} is not understood{line}", file.display()))
    })
}

impl Cloud {
    /// The value that the cloud has for a variable, such as `auth.username` for `OS_USERNAME`.
    pub(super) fn value(&self, variable: &str) -> Option<String> {
        match variable {
            "OS_REGION_NAME" => self.entry.region_name.clone(),
            "OS_INTERFACE" => self.entry.interface.clone(),
            "OS_CACERT" => self.entry.cacert.clone(),
            "OS_IDENTITY_API_VERSION" => self.entry.identity_api_version.clone(),
            "OS_STORAGE_URL" => self.entry.object_store_endpoint_override.clone(),
            _ => self.entry.auth.get(&key(variable)).map(|value| value.expose().to_owned()),
        }
    }

    /// A sentence for a variable without a value.
    pub(super) fn describe_missing(&self, variable: &str) -> String {
        let (key, name, file) = (key(variable), &self.name, self.file.display());
        format!("the cloud '{name}' in {file} has no auth.{key}")
    }
}

fn key(variable: &str) -> String {
    variable.strip_prefix("OS_").unwrap_or(variable).to_ascii_lowercase()
}

fn denied(cause: String) -> Failure {
    Failure::new(Kind::PermissionDenied, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUDS: &str = "
# for all
clouds:
  backup:
    auth: &auth
      auth_url: https://keystone.example:5000/v3
      username: \"ann\"
      password: 12345
      project_name: box
      user_domain_name: Default
    region_name: north
    interface: internal
    identity_api_version: 3
    regions: [{name: north}]
    verify: true
  other:
    auth:
      <<: *auth
      username: bob
    auth_type: v3password
";

    fn find_in(clouds: &str, secure: Option<&str>, name: &str) -> Result<Cloud, Failure> {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("clouds.yaml"), clouds).unwrap();
        if let Some(text) = secure {
            fs::write(scratch.path().join("secure.yaml"), text).unwrap();
        }
        let file = scratch.path().join("clouds.yaml").to_str().unwrap().to_owned();
        find(name, &|variable| (variable == "OS_CLIENT_CONFIG_FILE").then(|| file.clone()))
    }

    #[test]
    fn values_of_a_cloud() {
        let cloud = find_in(CLOUDS, None, "backup").unwrap_or_else(|error| panic!("{error:?}"));
        for (variable, value) in [
            ("OS_AUTH_URL", "https://keystone.example:5000/v3"),
            ("OS_USERNAME", "ann"),
            ("OS_PASSWORD", "12345"),
            ("OS_PROJECT_NAME", "box"),
            ("OS_USER_DOMAIN_NAME", "Default"),
            ("OS_REGION_NAME", "north"),
            ("OS_INTERFACE", "internal"),
            ("OS_IDENTITY_API_VERSION", "3"),
        ] {
            assert_eq!(cloud.value(variable).as_deref(), Some(value), "{variable}");
        }
        assert_eq!(cloud.value("OS_PROJECT_ID"), None);
        assert!(cloud.describe_missing("OS_PROJECT_ID").contains("auth.project_id"));
        let secure = Some("clouds: {other: {auth: {password: better}}}");
        let other = find_in(CLOUDS, secure, "other").unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(other.value("OS_USERNAME").as_deref(), Some("bob"));
        assert_eq!(other.value("OS_PASSWORD").as_deref(), Some("better"));
        assert_eq!(other.value("OS_PROJECT_NAME").as_deref(), Some("box"));
    }

    #[test]
    fn what_is_wrong_with_the_file_without_its_secrets() {
        for (clouds, expected) in [
            (CLOUDS, "no cloud 'third'"),
            ("", "no cloud"),
            ("clouds: {}", "no cloud"),
            ("clouds:\n  third:\n    auth:\n      password: [geheim\n", "is not understood"),
            ("clouds:\n  third:\n    auth: geheim\n", "line 3"),
        ] {
            let failure = find_in(clouds, None, "third").err().unwrap();
            let text = format!("{failure:?}");
            assert!(text.contains(expected) && !text.contains("geheim"), "{text}");
        }
        let home = |variable: &str| (variable == "HOME").then(|| "/nowhere".to_owned());
        let text = format!("{:?}", find("x", &home).err().unwrap());
        assert!(text.contains("/nowhere/.config/openstack/clouds.yaml"), "{text}");
    }
}
