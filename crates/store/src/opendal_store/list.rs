//! Listing, over as many pages as there are.

use futures_util::TryStreamExt;

use super::{Remote, answer, info};
use crate::{Kind, ObjectInfo, Operation, StoreError, name};

/// This many names that nobody asked for are passed over in one listing of neighbours.
const PASSED_OVER_MAX: usize = 1000;

impl Remote {
    /// The lists of neighbouring folders by one listing, where the service can begin one at a name.
    pub(super) async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        let (first, last) = (folders.iter().min(), folders.iter().max());
        if let (Some(first), Some(last)) = (first, last)
            && folders.len() > 1
            && self.operator.info().capability().list_with_start_after
            && let Ok(Some(lists)) = self.list_between(first, last, folders).await
        {
            return Ok(lists);
        }
        let mut lists = Vec::with_capacity(folders.len());
        for folder in folders {
            lists.push(self.list(folder).await?);
        }
        Ok(lists)
    }

    /// What is in these folders, from the first to the last of them; nothing when too much lies between.
    async fn list_between(
        &self,
        first: &str,
        last: &str,
        folders: &[&str],
    ) -> opendal::Result<Option<Vec<Vec<ObjectInfo>>>> {
        let mut lists = vec![Vec::new(); folders.len()];
        let mut passed_over = 0;
        let lister = self.operator.lister_with("/").recursive(true).start_after(first).into_future();
        let mut lister = answer(lister).await?;
        while let Some(entry) = answer(lister.try_next()).await? {
            let (object, metadata) = entry.into_parts();
            if object.as_str() > last && !object.starts_with(last) {
                break;
            }
            let place = folders.iter().position(|folder| object.starts_with(folder));
            match place.and_then(|place| lists.get_mut(place)) {
                Some(list) if metadata.is_file() && name::check(&object).is_ok() => {
                    list.push(info(object, &metadata));
                }
                _ => passed_over += 1,
            }
            if passed_over > PASSED_OVER_MAX {
                return Ok(None);
            }
        }
        for list in &mut lists {
            list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            list.dedup_by(|a, b| a.name == b.name);
        }
        Ok(Some(lists))
    }
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
