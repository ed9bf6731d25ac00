//! Listing, over as many pages as there are.

use futures_util::TryStreamExt;

use super::{Remote, answer, info};
use crate::{Kind, ObjectInfo, Operation, StoreError, name};

impl Remote {
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let folder = if prefix.is_empty() { "/" } else { prefix };
        let mut objects = Vec::new();
        let listed = async {
            let mut lister = answer(self.operator.lister_with(folder).recursive(true).into_future()).await?;
            while let Some(entry) = answer(lister.try_next()).await? {
                let (object, metadata) = entry.into_parts();
                // What cannot be a name is not ours; neither is what a server lists without being asked for it.
                if metadata.is_file() && object.starts_with(prefix) && name::check(&object).is_ok() {
                    objects.push(info(object, &metadata));
                }
            }
            Ok(())
        };
        match listed.await {
            Ok(()) => {}
            Err(error) => {
                // A folder that is not there holds nothing, as long as the store itself is there.
                let error = self.error(Operation::List, prefix, &error).await;
                if error.kind != Kind::NotFound && !self.is_below_object(prefix).await {
                    return Err(error);
                }
            }
        }
        // OpenDAL takes a WebDAV folder that is not there for an empty one.
        if self.has_folders
            && objects.is_empty()
            && let Err(error) = self.check().await
        {
            return Err(self.error(Operation::List, prefix, &error).await);
        }
        objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        objects.dedup_by(|a, b| a.name == b.name);
        Ok(objects)
    }
}
