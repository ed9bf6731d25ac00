//! What an agent may do with its vault through grants: add and read.

use store::grant::{Permission, Policy};

use crate::name::{DAMAGE, LEASES, ObjectHash, PackId};

/// An agent may put packs, index fragments, snapshots and damage records, each under the name that its hash gives it,
/// and leases, which it may replace; and read and list everything, which is sealed or public anyway. It replaces nothing
/// else and removes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AgentPolicy;

impl Policy for AgentPolicy {
    fn allows(&self, permission: Permission, name: &str) -> bool {
        match permission {
            Permission::Put => may_add(name) || is_lease(name),
            Permission::Replace => is_lease(name),
            Permission::Get | Permission::Head => true,
        }
    }

    fn allows_listing(&self, _: &str) -> bool {
        true
    }
}

fn may_add(name: &str) -> bool {
    let Some(hash) = ObjectHash::from_object_name(name) else { return false };
    [hash.pack_name(), hash.index_name(), hash.snapshot_name(), format!("{DAMAGE}{hash}")]
        .iter()
        .any(|own| own == name)
}

fn is_lease(name: &str) -> bool {
    name.strip_prefix(LEASES).is_some_and(|id| PackId::from_hex(id).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    #[test]
    fn an_agent_adds_and_reads_and_replaces_leases_alone() {
        let hash = ObjectHash::of(b"x");
        let own = [hash.pack_name(), hash.index_name(), hash.snapshot_name(), format!("{DAMAGE}{hash}")];
        for name in &own {
            assert!(AgentPolicy.allows(Permission::Put, name), "{name}");
            assert!(!AgentPolicy.allows(Permission::Replace, name), "{name}");
        }
        let mut others = vec![
            name::DESCRIPTOR.to_owned(),
            hash.slot_name(),
            format!("packs/{hash}"),
            format!("packs/zz/{hash}"),
            format!("packs/../index/{hash}"),
            format!("snapshots/{hash}/{hash}"),
            format!("snapshots/{}", hash.to_string().to_uppercase()),
            "packs/ab/cd".to_owned(),
            format!("/{}", hash.pack_name()),
            hash.to_string(),
            String::new(),
        ];
        for folder in [
            name::TRASH,
            name::LEASES,
            name::PINS,
            name::CONDEMNED,
            name::RELOCATIONS,
            name::SETTINGS,
            name::VERIFIED,
            name::ABILITIES,
            name::LOCKS,
        ] {
            others.push(format!("{folder}{hash}"));
        }
        for name in &others {
            for permission in [Permission::Put, Permission::Replace] {
                assert!(!AgentPolicy.allows(permission, name), "{name}");
            }
            assert!(AgentPolicy.allows(Permission::Get, name) && AgentPolicy.allows(Permission::Head, name));
        }
        let lease = format!("{}{}", name::LEASES, "0f".repeat(16));
        assert!(
            AgentPolicy.allows(Permission::Put, &lease) && AgentPolicy.allows(Permission::Replace, &lease)
        );
        assert!(AgentPolicy.allows_listing("") && AgentPolicy.allows_listing("snapshots/"));
    }
}
