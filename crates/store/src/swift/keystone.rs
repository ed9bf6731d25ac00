//! The login at Keystone, version 3: a JSON question, a token in a header, and a catalogue of services in which the
//! object store is found.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method as Verb;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::ser::to_vec;
use zeroize::Zeroizing;

use super::address;
use super::credentials::{Application, Domain, Identity, Keystone, Named};
use super::login::{Expiry, Token, refused};
use crate::Kind;
use crate::web::Failure;
use crate::web::Secret;
use crate::web::time;
use crate::web::{Http, Request};

/// The largest answer that is read, in bytes: a catalogue of hundreds of services.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// What services of this kind are called in the catalogue.
const OBJECT_STORE: &str = "object-store";

#[derive(Deserialize)]
struct Answer {
    token: Details,
}

#[derive(Deserialize)]
struct Details {
    issued_at: Option<String>,
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: Option<String>,
    region: Option<String>,
    region_id: Option<String>,
    url: Option<String>,
}

/// Logs in. The catalogue is not needed when the storage URL is known.
pub(super) async fn log_in(http: &Http, keystone: &Keystone, has_url: bool) -> Result<Token, Failure> {
    let (secret, check) = match &keystone.identity {
        Identity::Password { password, .. } => (
            password,
            "the user, the password, the project and their domains (OS_USERNAME, OS_PASSWORD, ...)",
        ),
        Identity::Application { secret, .. } => (secret, "OS_APPLICATION_CREDENTIAL_ID and its secret"),
    };
    let mut request = Request::new(Verb::POST, address::parse(&format!("{}/auth/tokens", keystone.url))?)
        .header(CONTENT_TYPE, "application/json")?
        .header(ACCEPT, "application/json")?;
    request.body = Some(vec![question(&keystone.identity)?]);
    let mut response = http.send(request, Arc::default()).await?;
    if !response.status().is_success() {
        return Err(refused(response, &[secret], check).await);
    }
    let Some(token) = response.header("x-subject-token").map(str::to_owned).map(Secret::new) else {
        return Err(Failure::strange("the login at OS_AUTH_URL gave no token"));
    };
    let (body, goes_on) = response.read(0, ANSWER_BYTES_MAX).await?;
    // The reader's own message may quote what it read.
    let answer = serde_json::from_slice::<Answer>(&body).ok().filter(|_| !goes_on);
    let Some(Answer { token: details }) = answer else {
        return Err(Failure::strange("the login at OS_AUTH_URL gave no token description"));
    };
    let storage_url = match find_endpoint(&details.catalog, keystone) {
        Some(url) => url,
        None if has_url => String::new(),
        None => return Err(no_endpoint(keystone)),
    };
    let life = details.issued_at.zip(details.expires_at).and_then(|(start, end)| time::between(&start, &end));
    Ok(Token { secret: token, storage_url, expiry: life.and_then(Expiry::after) })
}

fn find_endpoint(catalog: &[Service], keystone: &Keystone) -> Option<String> {
    let services = catalog.iter().filter(|service| service.kind.as_deref() == Some(OBJECT_STORE));
    let fits = |endpoint: &&Endpoint| {
        let region = keystone.region.as_deref();
        endpoint.interface.as_deref() == Some(&keystone.interface)
            && (region.is_none()
                || region == endpoint.region.as_deref()
                || region == endpoint.region_id.as_deref())
    };
    services.flat_map(|service| &service.endpoints).find(fits)?.url.clone()
}

fn no_endpoint(keystone: &Keystone) -> Failure {
    let region = keystone.region.as_deref().map(|name| format!(" in the region {name}")).unwrap_or_default();
    let cause = format!(
        "the project has no object store with the interface {}{region}: check OS_REGION_NAME and OS_INTERFACE",
        keystone.interface
    );
    Failure::new(Kind::NotFound, cause)
}

/// The body of the request. It is wiped when the last part of the client lets go of it.
fn question(identity: &Identity) -> Result<Bytes, Failure> {
    let text = write(identity).map_err(|error| Failure::new(Kind::Other, error))?;
    Ok(Bytes::from_owner(text))
}

fn write(identity: &Identity) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    // Made in one piece: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(16 << 10));
    text.extend_from_slice(br#"{"auth":{"identity":{"methods":["#);
    match identity {
        Identity::Password { user, password, project } => {
            text.extend_from_slice(br#""password"],"password":{"user":{"#);
            named(&mut text, user)?;
            text.push(b',');
            pair(&mut text, "password", password.expose())?;
            text.extend_from_slice(br#"}}},"scope":{"project":{"#);
            named(&mut text, project)?;
            text.extend_from_slice(b"}}}}");
        }
        Identity::Application { credential, secret } => {
            text.extend_from_slice(br#""application_credential"],"application_credential":{"#);
            match credential {
                Application::Id(id) => pair(&mut text, "id", id)?,
                Application::Name { name, user } => {
                    pair(&mut text, "name", name)?;
                    text.extend_from_slice(br#","user":{"#);
                    named(&mut text, user)?;
                    text.push(b'}');
                }
            }
            text.push(b',');
            pair(&mut text, "secret", secret.expose())?;
            text.extend_from_slice(b"}}}}");
        }
    }
    Ok(text)
}

fn named(text: &mut Vec<u8>, named: &Named) -> Result<(), serde_json::Error> {
    match named {
        Named::Id(id) => pair(text, "id", id),
        Named::Name { name, domain } => {
            pair(text, "name", name)?;
            text.extend_from_slice(br#","domain":{"#);
            match domain {
                Domain::Id(id) => pair(text, "id", id)?,
                Domain::Name(name) => pair(text, "name", name)?,
            }
            text.push(b'}');
            Ok(())
        }
    }
}

fn pair(text: &mut Vec<u8>, key: &str, value: &str) -> Result<(), serde_json::Error> {
    let value = Zeroizing::new(to_vec(value)?);
    text.extend_from_slice(format!("\"{key}\":").as_bytes());
    text.extend_from_slice(&value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_slice, json};

    use super::*;

    #[test]
    fn the_question_in_json() {
        let user =
            || Named::Name { name: "ann \"x\"".to_owned(), domain: Domain::Name("Default".to_owned()) };
        let identity = Identity::Password {
            user: user(),
            password: Secret::new("a\\b\n".to_owned()),
            project: Named::Id("77".to_owned()),
        };
        let told: Value = from_slice(&write(&identity).unwrap()).unwrap();
        let user_json = json!({"name": "ann \"x\"", "domain": {"name": "Default"}});
        let mut with_password = user_json.clone();
        with_password["password"] = json!("a\\b\n");
        let expected = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": with_password}},
            "scope": {"project": {"id": "77"}},
        }});
        assert_eq!(told, expected);
        let credential = Application::Name { name: "backup".to_owned(), user: user() };
        let identity = Identity::Application { credential, secret: Secret::new("s".to_owned()) };
        let told: Value = from_slice(&write(&identity).unwrap()).unwrap();
        let credential = json!({"name": "backup", "user": user_json, "secret": "s"});
        let identity = json!({"methods": ["application_credential"], "application_credential": credential});
        assert_eq!(told, json!({"auth": {"identity": identity}}));
    }
}
