//! What a location may say, and what is missing to open one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::chain;
use store::{Bucket, Kind, Location, SshFolder, WebFolder};

fn bucket(name: &str, prefix: &str) -> Bucket {
    Bucket { name: name.to_owned(), prefix: prefix.to_owned() }
}

fn ssh(user: Option<&str>, host: &str, port: Option<u16>, path: &str) -> Location {
    Location::Sftp(SshFolder {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
        path: path.to_owned(),
    })
}

fn web(is_encrypted: bool, authority: &str, path: &str) -> Location {
    Location::Webdav(WebFolder { is_encrypted, authority: authority.to_owned(), path: path.to_owned() })
}

#[test]
fn understood_and_shown() {
    for (text, location, shown) in [
        ("s3://vaults", Location::S3(bucket("vaults", "")), "s3://vaults"),
        ("S3://vaults/a/b%20c/", Location::S3(bucket("vaults", "a/b c")), "s3://vaults/a/b%20c"),
        ("azblob://vaults/x", Location::Azblob(bucket("vaults", "x")), "azblob://vaults/x"),
        ("gs://vaults/x", Location::Gcs(bucket("vaults", "x")), "gcs://vaults/x"),
        ("gcs://vaults/100%25", Location::Gcs(bucket("vaults", "100%")), "gcs://vaults/100%25"),
        (
            "sftp://bob@host:22/srv/v",
            ssh(Some("bob"), "host", Some(22), "/srv/v"),
            "sftp://bob@host:22/srv/v",
        ),
        ("sftp://host/~/v", ssh(None, "host", None, "v"), "sftp://host/~/v"),
        ("sftp://[::1]/v", ssh(None, "::1", None, "/v"), "sftp://[::1]/v"),
        ("webdav://host:80/a%23b", web(false, "host:80", "a#b"), "webdav://host:80/a%23b"),
        ("webdavs://host", web(true, "host", ""), "webdavs://host/"),
    ] {
        let parsed = Location::parse(text).unwrap();
        assert_eq!(parsed, location, "{text}");
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(Location::parse(shown).unwrap(), location, "{shown}");
    }
}

#[test]
fn refused_without_repeating_what_may_be_secret() {
    for text in [
        "s3://",
        "s3:///prefix",
        "s3://key:hunter2@vaults/x",
        "s3://vaults:hunter2/x",
        "s3://vaults/x?key=hunter2",
        "s3://vaults/x#hunter2",
        "s3://vaults/a//hunter2",
        "s3://vaults/../hunter2",
        "s3://vaults/hunter2%00",
        "s3://vaults/hunter2%ff",
        "s3://hunter2%zz/",
        "sftp://bob:hunter2@host/x",
        "sftp://host/",
        "sftp://host/~/",
        "sftp://-oProxyCommand=hunter2/x",
        "sftp://-lhunter2@host/x",
        "sftp://bob hunter2@host/x",
        "sftp://host:hunter2/x",
        "sftp://[hunter2]/x",
        "webdav://bob:hunter2@host/x",
        "webdav://bob@host/x",
        "webdavs:///hunter2",
        "webdavs://host:70000/hunter2",
    ] {
        let error = Location::parse(text).unwrap_err();
        assert_eq!(error.kind, Kind::UnknownLocation, "{text}");
        assert!(!format!("{error:?} {}", chain(&error)).contains("hunter2"), "{text}: {error:?}");
    }
    assert!(Location::parse(&format!("s3://vaults/{}", "long/".repeat(101))).is_err());
}

#[test]
fn a_missing_credential_is_named() {
    for (location, known, named) in [
        ("s3://v", &[("AWS_ENDPOINT_URL", "http://localhost:1")][..], "AWS_ACCESS_KEY_ID"),
        ("s3://v", &[("AWS_ACCESS_KEY_ID", "hunter2"), ("AWS_REGION", "r")], "AWS_SECRET_ACCESS_KEY"),
        ("s3://v", &[("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_REGION", "r")], "AWS_ACCESS_KEY_ID"),
        ("s3://v", &[("AWS_ACCESS_KEY_ID", "hunter2")], "AWS_REGION"),
        ("azblob://v", &[], "AZURE_STORAGE_ACCOUNT"),
        ("azblob://v", &[("AZURE_STORAGE_ACCOUNT", "a")], "AZURE_STORAGE_KEY"),
        ("azblob://v", &[("AZURE_STORAGE_CONNECTION_STRING", "hunter2")], "AZURE_STORAGE_CONNECTION_STRING"),
        ("gcs://v", &[], "GOOGLE_APPLICATION_CREDENTIALS"),
        ("gcs://v", &[("GOOGLE_APPLICATION_CREDENTIALS", "/hunter2")], "GOOGLE_APPLICATION_CREDENTIALS"),
        ("webdav://h", &[("WEBDAV_USERNAME", "hunter2")], "WEBDAV_PASSWORD"),
        ("webdav://h", &[("WEBDAV_PASSWORD", "hunter2")], "WEBDAV_USERNAME"),
    ] {
        let look_up =
            |key: &str| known.iter().find(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned());
        let error = Location::parse(location).unwrap().open_with(&look_up).unwrap_err();
        let text = format!("{error:?} {}", chain(&error));
        assert_eq!(error.kind, Kind::PermissionDenied, "{text}");
        assert!(text.contains(named), "{location} {known:?}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    // A key that is no key: OpenDAL says so without repeating it.
    let azure = [("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_STORAGE_KEY", "hunter2!")];
    let look_up =
        |key: &str| azure.iter().find(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned());
    let error = Location::parse("azblob://v").unwrap().open_with(&look_up).unwrap_err();
    assert!(!format!("{error:?} {}", chain(&error)).contains("hunter2"));
}
