//! Connections to the model: queries, gets and calls (Hyper-V spec 2).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyperv::VmId;
use hyperv::sim::{SimHost, Step};
use time_and_chance::{Chance, SharedClock};
use windows_host::wmi::{
    EmbeddedSource, Namespaces, TextForm, Value, WmiError, WmiObject, WmiSession,
};

use crate::Manners;
use crate::codes;
use crate::embedded;
use crate::extras::Extras;
use crate::failure;
use crate::jobs::Job;
use crate::methods;
use crate::object_path::ObjectPath;
use crate::schema::{Class, Schema};
use crate::world::{Properties, Row, Subject, World};
use crate::wql::{self, Query, Wanted};

/// The WMI of a simulated Hyper-V host.
#[derive(Debug, Clone)]
pub struct FakeNamespaces {
    model: Arc<Model>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Model {
    pub host: SimHost,
    pub manners: Manners,
    pub clock: SharedClock,
    pub chance: Chance,
    jobs: Mutex<Vec<Job>>,
    virtualization: Schema,
    cimv2: Schema,
    mscluster: Schema,
    extras: Mutex<Extras>,
}

impl FakeNamespaces {
    /// Returns the WMI of a host; time and chance are its jobs'.
    pub fn new(host: SimHost, manners: Manners, clock: SharedClock, chance: Chance) -> Self {
        let model = Model {
            virtualization: Schema::virtualization(&manners),
            cimv2: Schema::cimv2(&manners),
            mscluster: Schema::mscluster(&manners),
            extras: Mutex::default(),
            host,
            manners,
            clock,
            chance,
            jobs: Mutex::new(Vec::new()),
        };
        Self {
            model: Arc::new(model),
        }
    }
}

/// Returns the namespace of this name, however it is written.
fn known_namespace(name: &str) -> Option<&'static str> {
    [crate::VIRTUALIZATION, crate::CIMV2, crate::MSCLUSTER]
        .into_iter()
        .find(|known| crate::is_namespace(known, name))
}

impl FakeNamespaces {
    /// Returns the classes of a namespace.
    pub fn schema(&self, namespace: &str) -> Option<&Schema> {
        Some(match known_namespace(namespace)? {
            crate::CIMV2 => &self.model.cimv2,
            crate::MSCLUSTER => &self.model.mscluster,
            _ => &self.model.virtualization,
        })
    }

    /// Returns what there is beside the simulation, to be changed.
    pub fn extras(&self) -> MutexGuard<'_, Extras> {
        self.model.extras()
    }

    /// Returns an object as the text of an embedded instance, as [`WmiSession::embedded`] does.
    pub fn text(&self, form: TextForm, class: &Class, object: &WmiObject) -> String {
        embedded::write_as(form, class, object)
    }
}

impl Namespaces for FakeNamespaces {
    fn connect(&self, namespace: &str) -> Result<Arc<dyn WmiSession>, WmiError> {
        let in_cluster = self.model.extras().cluster.is_some();
        let known =
            known_namespace(namespace).filter(|known| *known != crate::MSCLUSTER || in_cluster);
        let namespace = known.ok_or_else(|| {
            WmiError::call(
                format!("connect to the namespace {namespace}"),
                codes::INVALID_NAMESPACE,
            )
        })?;
        Ok(Arc::new(FakeSession {
            model: Arc::clone(&self.model),
            namespace,
        }))
    }
}

/// A connection.
#[derive(Debug)]
struct FakeSession {
    model: Arc<Model>,
    namespace: &'static str,
}

impl Model {
    /// Returns all jobs.
    pub(crate) fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        // A call that panicked left the list whole: each change of it is a single step.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what there is beside the simulation.
    pub(crate) fn extras(&self) -> MutexGuard<'_, Extras> {
        self.extras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.virtualization
    }

    /// Returns Hyper-V's namespace as it is now.
    pub(crate) fn world(&self) -> Result<World<'_>, WmiError> {
        let truth = self.host.truth().map_err(failure::of_reading)?;
        let mut world =
            World::virtualization(&self.virtualization, &truth, &self.extras(), &self.manners);
        let now = self.clock.now();
        for job in self.jobs().iter() {
            add_job(&mut world, job, job.properties(now, &self.manners));
        }
        Ok(world)
    }

    /// Lets a job go on by one look; one that vanished is gone then.
    fn look_at_job(&self, id: &str) {
        let now = self.clock.now();
        self.jobs()
            .retain_mut(|job| job.id != id || job.look(&self.host, now, &self.manners));
    }

    /// Lets happen what looking at objects lets happen. Returns whether anything may have.
    fn look(&self, looks: &Looks) -> Result<bool, WmiError> {
        for job in &looks.jobs {
            self.look_at_job(job);
        }
        for (step, vms) in &looks.vms {
            self.host.look_at(vms, *step).map_err(failure::of_reading)?;
        }
        Ok(!looks.jobs.is_empty() || !looks.vms.is_empty())
    }
}

fn add_job(world: &mut World<'_>, job: &Job, properties: Properties) {
    let at = world.add("Msvm_ConcreteJob", Subject::Job(job.id.clone()), properties);
    let owner = job.vm.map(Subject::Vm);
    let affected: Vec<usize> = job
        .affected()
        .iter()
        .chain(&owner)
        .filter_map(|subject| world.of_subject(subject))
        .collect();
    for (number, element) in affected.into_iter().enumerate() {
        // 5: created; 2 is what the job worked on otherwise.
        let effect: u16 = if number < job.affected().len() { 5 } else { 2 };
        world.link_with(
            "Msvm_AffectedJobElement",
            ["AffectingElement", "AffectedElement"],
            at,
            element,
            vec![("ElementEffects", Value::Array(vec![effect.into()]))],
        );
    }
}

/// What is looked at, and how the simulated host calls that.
#[derive(Debug, Default)]
struct Looks {
    vms: Vec<(Step, Vec<VmId>)>,
    jobs: Vec<String>,
}

impl Looks {
    fn add(&mut self, step: Step, vm: VmId) {
        match self.vms.iter_mut().find(|(known, _)| *known == step) {
            Some((_, vms)) if vms.contains(&vm) => {}
            Some((_, vms)) => vms.push(vm),
            None => self.vms.push((step, vec![vm])),
        }
    }

    /// Adds what showing an object of this kind is.
    fn add_subject(&mut self, subject: &Subject) {
        match subject {
            Subject::Vm(vm) => self.add(Step::Vm, *vm),
            Subject::Checkpoint(vm, _) => self.add(Step::Checkpoints, *vm),
            Subject::CheckpointPart(vm) => self.add(Step::FrozenDisks, *vm),
            Subject::Point(vm, _) => self.add(Step::ReferencePoints, *vm),
            Subject::Job(id) => self.jobs.push(id.clone()),
            _ => {}
        }
    }

    /// Adds what following an association from an object is, whether it leads somewhere or not.
    fn add_association(&mut self, from: &Subject, association: Option<&str>) {
        let Subject::Vm(vm) = from else { return };
        let is = |name: &str| association.is_some_and(|known| known.eq_ignore_ascii_case(name));
        if is("Msvm_SnapshotOfVirtualSystem") {
            self.add(Step::Checkpoints, *vm);
        }
        if is("Msvm_ReferencePointOfVirtualSystem") {
            self.add(Step::ReferencePoints, *vm);
        }
    }
}

impl FakeSession {
    fn schema(&self) -> &Schema {
        match self.namespace {
            crate::CIMV2 => &self.model.cimv2,
            crate::MSCLUSTER => &self.model.mscluster,
            _ => &self.model.virtualization,
        }
    }

    fn world(&self) -> Result<World<'_>, WmiError> {
        if self.namespace == crate::VIRTUALIZATION {
            return self.model.world();
        }
        let truth = self.model.host.truth().map_err(failure::of_reading)?;
        Ok(match self.namespace {
            crate::MSCLUSTER => {
                World::mscluster(&self.model.mscluster, &truth, &self.model.extras())
            }
            _ => World::cimv2(&self.model.cimv2, &truth, &self.model.manners),
        })
    }

    fn find(&self, world: &World<'_>, path: &str) -> Result<usize, WmiError> {
        let parsed = ObjectPath::parse(path, world.host_name(), self.namespace)?;
        self.schema().wanted(&parsed.class)?;
        world.object_at(path)
    }

    /// Answers a query from the world, and says what it looked at.
    fn answer(&self, world: &World<'_>, query: &Query) -> Result<(Vec<Row>, Looks), WmiError> {
        let mut looks = Looks::default();
        let rows = match query {
            Query::Select {
                class, condition, ..
            } => world.select(class, condition.as_ref())?,
            Query::Associators { path, wanted } => {
                let from = self.find(world, path)?;
                self.note_source(world, from, wanted, &mut looks);
                self.associated(world, from, wanted)?
            }
            Query::References { path, wanted } => {
                let from = self.find(world, path)?;
                self.note_source(world, from, wanted, &mut looks);
                self.references(world, from, wanted)?
            }
        };
        for (_, subject) in &rows {
            if let Some(subject) = subject {
                looks.add_subject(subject);
            }
        }
        Ok((rows, looks))
    }

    fn note_source(&self, world: &World<'_>, from: usize, wanted: &Wanted, looks: &mut Looks) {
        let subject = &world.instances[from].subject;
        looks.add_association(subject, wanted.association.as_deref());
    }

    /// Returns the links of an object with the end that is not it.
    fn links<'w>(
        &self,
        world: &'w World<'_>,
        from: usize,
        wanted: &Wanted,
    ) -> Result<Vec<(&'w crate::world::Link, usize)>, WmiError> {
        for class in [&wanted.association, &wanted.result].into_iter().flatten() {
            self.schema().wanted(class)?;
        }
        let is = |class: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| self.schema().is_a(class, wanted))
        };
        let role = |role: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(role))
        };
        let ends = world
            .links
            .iter()
            .flat_map(|link| [(link, link.from, link.to), (link, link.to, link.from)]);
        let fitting = ends.filter(|(link, near, far)| {
            near.at == from
                && is(link.class, &wanted.association)
                && is(&world.instances[far.at].object.class, &wanted.result)
                && role(near.role, &wanted.role)
                && role(far.role, &wanted.result_role)
        });
        Ok(fitting.map(|(link, _, far)| (link, far.at)).collect())
    }

    fn associated(
        &self,
        world: &World<'_>,
        from: usize,
        wanted: &Wanted,
    ) -> Result<Vec<Row>, WmiError> {
        let mut seen = Vec::new();
        for (_, far) in self.links(world, from, wanted)? {
            if !seen.contains(&far) {
                seen.push(far);
            }
        }
        let row = |at: usize| {
            let instance = &world.instances[at];
            (instance.object.clone(), Some(instance.subject.clone()))
        };
        Ok(seen.into_iter().map(row).collect())
    }

    fn references(
        &self,
        world: &World<'_>,
        from: usize,
        wanted: &Wanted,
    ) -> Result<Vec<Row>, WmiError> {
        let links = self.links(world, from, wanted)?;
        let row = |(link, _): (&crate::world::Link, usize)| (world.link_object(link), None);
        Ok(links.into_iter().map(row).collect())
    }
}

impl WmiSession for FakeSession {
    fn query(&self, wql: &str) -> Result<Vec<WmiObject>, WmiError> {
        let query = wql::parse(wql).map_err(|wql::SyntaxError| {
            WmiError::call(format!("understand the query {wql}"), codes::INVALID_QUERY)
        })?;
        let mut world = self.world()?;
        let (mut rows, looks) = self.answer(&world, &query)?;
        // Whoever looks sees what the look let happen.
        if self.model.look(&looks)? {
            world = self.world()?;
            rows = self.answer(&world, &query)?.0;
        }
        let rows = rows.iter();
        rows.map(|(object, _)| world.selected(object, query.properties()))
            .collect()
    }

    fn get(&self, path: &str) -> Result<WmiObject, WmiError> {
        let world = self.world()?;
        let at = self.find(&world, path)?;
        let mut looks = Looks::default();
        looks.add_subject(&world.instances[at].subject);
        if !self.model.look(&looks)? {
            return world.full(&world.instances[at].object);
        }
        let world = self.world()?;
        let at = self.find(&world, path)?;
        world.full(&world.instances[at].object)
    }

    fn class_properties(&self, class: &str) -> Result<Vec<String>, WmiError> {
        let properties = self.schema().wanted(class)?.properties.iter();
        Ok(properties.map(|property| property.name.clone()).collect())
    }

    fn call(
        &self,
        path: &str,
        method: &str,
        parameters: &[(&str, Value)],
    ) -> Result<WmiObject, WmiError> {
        let world = self.world()?;
        let at = self.find(&world, path)?;
        let class = self.schema().wanted(&world.instances[at].object.class)?;
        let method = class.method(method).ok_or_else(|| {
            WmiError::call(
                format!("find the method {method} of {}", class.name),
                codes::INVALID_METHOD,
            )
        })?;
        methods::call(&self.model, &world, at, method, parameters)
    }

    fn embedded_as(
        &self,
        form: TextForm,
        source: EmbeddedSource<'_>,
        changes: &[(&str, Value)],
    ) -> Result<String, WmiError> {
        let mut object = match source {
            EmbeddedSource::Class(class) => WmiObject {
                class: self.schema().wanted(class)?.name.clone(),
                ..WmiObject::default()
            },
            EmbeddedSource::Instance(path) => self.get(path)?,
        };
        let class = self.schema().wanted(&object.class)?;
        for (name, value) in changes {
            let property = class.property(name).ok_or_else(|| {
                WmiError::call(
                    format!("put {name} of a {}: there is no such property", class.name),
                    codes::INVALID_PROPERTY,
                )
            })?;
            if !property.cim.takes(property.array, value) {
                return Err(WmiError::call(
                    format!("put {name} of a {}: it is no {value:?}", class.name),
                    codes::TYPE_MISMATCH,
                ));
            }
            object.set(&property.name, value.clone());
        }
        Ok(embedded::write_as(form, class, &object))
    }
}
