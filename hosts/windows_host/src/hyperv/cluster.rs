//! The failover cluster that this machine is a node of, if it is one (Hyper-V spec 2.1 and 13).

use std::sync::Arc;

use hyperv::{HypervError, VmId};
use uuid::Uuid;

use super::embedded::Embedded;
use super::errors::{WBEM_INVALID_CLASS, WBEM_INVALID_NAMESPACE, wmi_error};
use crate::wmi::{Namespaces, WmiError, WmiObject};

const NAMESPACE: &str = r"root\MSCluster";

/// The cluster as WMI tells of it.
#[derive(Debug)]
pub(super) struct Cluster {
    namespaces: Arc<dyn Namespaces>,
}

impl Cluster {
    pub(super) fn new(namespaces: Arc<dyn Namespaces>) -> Self {
        Self { namespaces }
    }

    /// Returns the cluster's name, none where this machine is in no cluster.
    ///
    /// # Errors
    /// If there is one that does not tell: points of one VM must not stand under two names.
    pub(super) fn name(&self) -> Result<Option<String>, HypervError> {
        let wrong = |error| wmi_error("ask for the name of the cluster", error);
        let clusters = self.query("SELECT Name FROM MSCluster_Cluster");
        let Some(clusters) = clusters.map_err(wrong)? else {
            return Ok(None);
        };
        let name = clusters
            .first()
            .map(|cluster| cluster.text("Name").map(str::to_owned));
        name.transpose().map_err(wrong)
    }

    /// Returns the node that has a VM now, as far as the cluster tells: a word for an error, and
    /// nothing to act on.
    pub(super) fn node_of(&self, vm: VmId) -> Option<String> {
        let wql = "SELECT * FROM MSCluster_Resource WHERE Type = \"Virtual Machine\"";
        let resources = self.query(wql).ok()??;
        let is_its = |resource: &&WmiObject| {
            let private = Embedded::read(resource.value("PrivateProperties"));
            let id = private.text("VmID").map(str::trim);
            id.and_then(|id| Uuid::parse_str(id).ok()) == Some(vm.0)
        };
        let resource = resources.iter().find(is_its)?;
        let node = resource.text("OwnerNode").ok()?;
        Some(node.to_owned()).filter(|node| !node.is_empty())
    }

    /// Asks the cluster; none where there is none.
    fn query(&self, wql: &str) -> Result<Option<Vec<WmiObject>>, WmiError> {
        let is_none = |code| matches!(code, Some(WBEM_INVALID_NAMESPACE | WBEM_INVALID_CLASS));
        let found = self
            .namespaces
            .connect(NAMESPACE)
            .and_then(|session| session.query(wql));
        match found {
            Err(error) if is_none(error.code()) => Ok(None),
            other => other.map(Some),
        }
    }
}
