//! Which workers to run: a pure function of the configuration and the functions found.
//!
//! The rules are GearmanManager's, in docs/configuration.md under "How many workers".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::config::{Config, FunctionConfig, ValueOrigin, nearest};
use crate::plugins::name::FunctionName;

/// Workers for every function that has a library and is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The all-functions workers first, then the dedicated ones by name. Never empty groups.
    pub groups: Vec<Group>,
    /// Functions that were found and get no worker, by name, and why.
    pub excluded: Vec<(FunctionName, ExcludedFunction)>,
    /// Functions that the configuration names and that were not found, by name.
    pub missing: Vec<UnknownSection>,
}

/// Workers that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// What they do, in the order of CAN_DO: the lowest priority first, the highest last, equal ones by name (see
    /// [`shuffle`]).
    pub functions: Vec<FunctionName>,
    /// Whether they do only this one function; else they are all-functions workers.
    pub dedicated: bool,
    /// How many there are, at least one.
    pub count: u32,
}

/// A function that the configuration names and no worker directory holds: probably a slip of the pen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownSection {
    /// Its name.
    pub function: String,
    /// Where it is named first.
    origin: ValueOrigin,
    /// By what it is named.
    places: Vec<String>,
    /// The function that was probably meant.
    near: Option<String>,
}

impl fmt::Display for UnknownSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownSection { function, origin, places, near } = self;
        if *origin != ValueOrigin::Default {
            write!(f, "{origin}: ")?;
        }
        let places = places.join(" and ");
        write!(f, "{function} is named by {places}, but no worker directory holds a library of that name")?;
        near.iter().try_for_each(|near| write!(f, "; did you mean {near}?"))
    }
}

/// Why a function that was found gets no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExcludedFunction {
    /// `include` does not name it.
    NotIncluded,
    /// `exclude` names it.
    Excluded,
    /// It is `dedicated_only` without a `dedicated_count`. [`crate::config::load`] refuses that.
    NoDedicatedCount,
}

impl fmt::Display for ExcludedFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExcludedFunction::NotIncluded => "include does not name it",
            ExcludedFunction::Excluded => "exclude names it",
            ExcludedFunction::NoDedicatedCount => "it is dedicated_only without a dedicated_count",
        })
    }
}

/// Which workers serve a function that would otherwise be one of the all-functions workers'. It always gets as many as
/// the configuration gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Only workers of its own: it does not start beside the other functions.
    Isolated,
    /// Workers of its own, and the all-functions workers as well: it is tried beside the other functions again.
    Rejoining,
}

/// Plans the workers for the functions in `found` (in any order, repeats do not count), but for those in `placements` as
/// these say.
pub(crate) fn plan(config: &Config, found: &[FunctionName], placements: &BTreeMap<FunctionName, Placement>) -> Plan {
    let mut plan = Plan { missing: missing(config, found), ..Plan::default() };
    let mut shared = Vec::new();
    let mut dedicated = Vec::new();
    for name in found.iter().collect::<BTreeSet<_>>() {
        match workers(config, name) {
            Err(reason) => plan.excluded.push((name.clone(), reason)),
            Ok(FunctionWorkers { dedicated: own, shares }) => {
                let placement = placements.get(name).filter(|_| shares);
                if shares && placement != Some(&Placement::Isolated) {
                    shared.push(name.clone());
                }
                let count = placement.map_or(own, |_| own.saturating_add(config.count));
                dedicated.push(Group { functions: vec![name.clone()], dedicated: true, count });
            }
        }
    }
    // Stable: equal priorities stay by name.
    shared.sort_by_key(|name| config.priority(name));
    if !shared.is_empty() {
        plan.groups.push(Group { functions: shared, dedicated: false, count: config.count });
    }
    plan.groups.append(&mut dedicated);
    plan.groups.retain(|group| group.count > 0);
    plan
}

/// The workers of one function.
struct FunctionWorkers {
    /// Workers that do only this function.
    dedicated: u32,
    /// The all-functions workers do it, too.
    shares: bool,
}

/// Whether the configuration leaves a function out.
pub(crate) fn is_excluded(config: &Config, name: &str) -> bool {
    workers(config, name).is_err()
}

fn workers(config: &Config, name: &str) -> Result<FunctionWorkers, ExcludedFunction> {
    if config.exclude.iter().any(|excluded| excluded == name) {
        return Err(ExcludedFunction::Excluded);
    }
    if !config.include.is_empty() && !config.include.iter().any(|included| included == name) {
        return Err(ExcludedFunction::NotIncluded);
    }
    let nothing = FunctionConfig::default();
    let own = config.functions.get(name).unwrap_or(&nothing);
    // As in the original, 0 is unset.
    let set = |count: Option<u32>| count.filter(|count| *count != 0);
    if own.dedicated_only {
        let dedicated = set(own.dedicated_count).ok_or(ExcludedFunction::NoDedicatedCount)?;
        return Ok(FunctionWorkers { dedicated, shares: false });
    }
    let all = config.count;
    let least = own.count.unwrap_or(0).max(all).max(1);
    let asked = set(own.dedicated_count).or_else(|| set(config.dedicated_count));
    let with_dedicated = asked.map_or(least, |count| all.saturating_add(count));
    Ok(FunctionWorkers { dedicated: least.max(with_dedicated) - all, shares: true })
}

/// Every function the configuration names and nobody found.
fn missing(config: &Config, found: &[FunctionName]) -> Vec<UnknownSection> {
    let is_there = |name: &str| found.iter().any(|found| found == name);
    let mut places: BTreeMap<&str, (ValueOrigin, Vec<String>)> = BTreeMap::new();
    for name in config.functions.keys() {
        places.insert(name, (config.origins.section(name), vec![format!("section [{name}]")]));
    }
    for name in &config.include {
        let place = places.entry(name).or_insert_with(|| (config.origins.of(None, "include"), Vec::new()));
        place.1.push("include".to_owned());
    }
    let wanted = |name: &str| !config.exclude.iter().any(|excluded| excluded == name);
    let missing = places.into_iter().filter(|(name, _)| !is_there(name) && wanted(name));
    let near = |name: &str| nearest(name, found.iter().map(FunctionName::as_str)).map(str::to_owned);
    missing
        .map(|(name, (origin, places))| UnknownSection { function: name.to_owned(), origin, places, near: near(name) })
        .collect()
}

impl Plan {
    /// Functions that have a priority, where it decides anything: beside others of another one.
    pub(crate) fn prioritized(&self, config: &Config) -> Vec<&str> {
        let differ = |group: &&Group| {
            let mut priorities = group.functions.iter().map(|name| config.priority(name));
            let first = priorities.next();
            priorities.any(|priority| Some(priority) != first)
        };
        let names = self.groups.iter().filter(differ).flat_map(|group| &group.functions);
        names.filter(|name| config.priority(name) != 0).map(FunctionName::as_str).collect()
    }

    /// How many workers are to know a function.
    pub(crate) fn planned(&self, function: &str) -> u32 {
        let all = self.all_functions().filter(|group| group.functions.iter().any(|name| name == function));
        let knowing = all.into_iter().chain(self.dedicated_to(function));
        knowing.fold(0, |sum, group| sum.saturating_add(group.count))
    }

    /// The group of the all-functions workers.
    pub(crate) fn all_functions(&self) -> Option<&Group> {
        self.groups.first().filter(|group| !group.dedicated)
    }

    /// The group of a function's own workers.
    pub(crate) fn dedicated_to(&self, function: &str) -> Option<&Group> {
        // They are sorted by name.
        let dedicated = &self.groups[usize::from(self.all_functions().is_some())..];
        let place =
            dedicated.binary_search_by(|group| group.functions.first().map(|name| name.as_str()).cmp(&Some(function)));
        dedicated.get(place.ok()?)
    }

    /// The functions of all groups; one that all-functions workers and dedicated ones serve comes twice.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &FunctionName> {
        self.groups.iter().flat_map(|group| &group.functions)
    }

    /// How many all-functions workers are to know a function.
    pub(crate) fn shared(&self, function: &str) -> u32 {
        let all = self.all_functions().filter(|group| group.functions.iter().any(|name| name == function));
        all.map_or(0, |group| group.count)
    }

    /// Gives a planned function this many workers in all, but never fewer than the all-functions workers that know it.
    pub(crate) fn scale(&mut self, function: &FunctionName, workers: u32) {
        if self.planned(function) == 0 {
            return;
        }
        let count = workers.saturating_sub(self.shared(function));
        let first = usize::from(self.all_functions().is_some());
        let named = |group: &Group| group.functions.first().cmp(&Some(function));
        match self.groups[first..].binary_search_by(named) {
            Ok(place) => self.groups[first + place].count = count,
            Err(place) => {
                self.groups.insert(first + place, Group { functions: vec![function.clone()], dedicated: true, count });
            }
        }
        self.groups.retain(|group| group.count > 0);
    }

    /// How many workers there are to be.
    pub(crate) fn workers(&self) -> u32 {
        self.groups.iter().fold(0, |sum, group| sum.saturating_add(group.count))
    }
}

impl fmt::Display for Plan {
    /// As an ini's comment lines, to stand under [`Config::dump`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = self.workers();
        writeln!(f, "; plan: {workers} worker{}", if workers == 1 { "" } else { "s" })?;
        for Group { functions, dedicated, count } in &self.groups {
            let functions = functions.join(", ");
            writeln!(f, ";   {count} x {functions}{}", if *dedicated { " only" } else { "" })?;
        }
        for (function, reason) in &self.excluded {
            writeln!(f, ";   left out: {function}, since {reason}")?;
        }
        self.missing.iter().try_for_each(|missing| writeln!(f, ";   warning: {missing}"))
    }
}

/// The order of CAN_DO for one worker: the lowest priority first, equal ones in a random order, so that over many
/// workers none is always served last. Functions are a group's; `priority` is usually [`Config::priority`].
pub(crate) fn shuffle(
    functions: &[FunctionName],
    priority: impl Fn(&str) -> i8,
    rng: &mut fastrand::Rng,
) -> Vec<FunctionName> {
    let mut order = functions.to_vec();
    rng.shuffle(&mut order);
    order.sort_by_key(|name| priority(name));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration of an ini, which must be right.
    fn config(ini: &str) -> Config {
        let source = crate::config::ConfigFile { path: "gm.ini".as_ref(), bytes: ini.as_bytes() };
        let (config, _) = crate::config::load(Some(source), &Default::default(), &|_| None).expect("a right ini");
        config
    }

    fn of(ini: &str, found: &str) -> Plan {
        plan(&config(ini), &names(found), &BTreeMap::new())
    }

    fn names(list: &str) -> Vec<FunctionName> {
        list.split_whitespace().map(FunctionName::from).collect()
    }

    /// `3*a+b 2*c!`: three all-functions workers for a and b, two dedicated ones for c.
    fn shown(plan: &Plan) -> String {
        let group = |group: &Group| {
            format!("{}*{}{}", group.count, group.functions.join("+"), if group.dedicated { "!" } else { "" })
        };
        plan.groups.iter().map(group).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_worked_example() {
        let ini = include_str!("../packaging/advanced.ini");
        let plan = of(ini, "reverse_string fetch_url Sum");
        assert_eq!(shown(&plan), "10*fetch_url+reverse_string 5*Sum! 5*fetch_url! 1*reverse_string!");
        assert_eq!(plan.workers(), 21);
        assert_eq!(["Sum", "fetch_url", "reverse_string", "else"].map(|name| plan.planned(name)), [5, 15, 11, 0]);
        assert_eq!((plan.excluded, plan.missing), (vec![], vec![]));
    }

    #[test]
    fn the_simple_sample() {
        let ini = include_str!("../packaging/simple.ini");
        let plan = of(ini, "reverse_string other");
        assert_eq!(shown(&plan), "3*other+reverse_string");
    }

    /// Each row as GearmanManager plans it (`load_workers` and `bootstrap` in its source).
    #[test]
    fn how_many_workers() {
        for (global, sections, expected) in [
            // By default: one worker for each function.
            ("", "", "1*a! 1*b!"),
            ("count = 0\ndedicated_count = 0", "", "1*a! 1*b!"),
            ("dedicated_count = 2", "", "2*a! 2*b!"),
            // Workers for everything are enough.
            ("count = 3", "", "3*a+b"),
            ("count = 3\ndedicated_count = 0", "", "3*a+b"),
            ("count = 3\ndedicated_count = 1", "", "3*a+b 1*a! 1*b!"),
            // A function's count below, at and above the global one.
            ("count = 3", "[a]\ncount = 2", "3*a+b"),
            ("count = 3", "[a]\ncount = 3", "3*a+b"),
            ("count = 3", "[a]\ncount = 5", "3*a+b 2*a!"),
            ("", "[a]\ncount = 5", "5*a! 1*b!"),
            // The larger of count and dedicated_count decides.
            ("count = 3\ndedicated_count = 1", "[a]\ncount = 5", "3*a+b 2*a! 1*b!"),
            ("count = 3\ndedicated_count = 4", "[a]\ncount = 5", "3*a+b 4*a! 4*b!"),
            ("count = 3", "[a]\ncount = 5\ndedicated_count = 1", "3*a+b 2*a!"),
            ("count = 3", "[a]\ncount = 5\ndedicated_count = 4", "3*a+b 4*a!"),
            ("", "[a]\ncount = 2\ndedicated_count = 4", "4*a! 1*b!"),
            ("", "[a]\ncount = 4\ndedicated_count = 2", "4*a! 1*b!"),
            // The function's dedicated_count beats the global one; 0 is unset.
            ("count = 3\ndedicated_count = 4", "[a]\ndedicated_count = 1", "3*a+b 1*a! 4*b!"),
            ("count = 3\ndedicated_count = 4", "[a]\ndedicated_count = 0", "3*a+b 4*a! 4*b!"),
            ("count = 3", "[a]\ncount = 0", "3*a+b"),
            // dedicated_only: exactly its dedicated_count, whatever else is configured.
            ("count = 3", "[a]\ndedicated_only = 1\ndedicated_count = 2", "3*b 2*a!"),
            ("count = 3\ndedicated_count = 4", "[a]\ndedicated_only = 1\ndedicated_count = 2", "3*b 2*a! 4*b!"),
            ("", "[a]\ndedicated_only = 1\ndedicated_count = 2\ncount = 9", "2*a! 1*b!"),
            (
                "count = 3",
                "[a]\ndedicated_only = 1\ndedicated_count = 2\n[b]\ndedicated_only = 1\ndedicated_count = 1",
                "2*a! 1*b!",
            ),
        ] {
            let ini = format!("[GearmanManager]\n{global}\n{sections}");
            assert_eq!(shown(&of(&ini, "b a b")), expected, "{ini}");
        }
    }

    #[test]
    fn an_isolated_function_has_as_many_workers_of_its_own() {
        use Placement::{Isolated, Rejoining};
        for (ini, placement, expected, planned) in [
            ("count = 1", Isolated, "1*b+c 1*a!", 1),
            ("count = 3", Isolated, "3*b+c 3*a!", 3),
            ("count = 3\n[a]\ncount = 5", Isolated, "3*b+c 5*a!", 5),
            ("count = 3\ndedicated_count = 1", Isolated, "3*b+c 4*a! 1*b! 1*c!", 4),
            ("count = 2", Rejoining, "2*a+b+c 2*a!", 4),
            // Nothing is shared: it has its own workers anyway.
            ("count = 0", Isolated, "1*a! 1*b! 1*c!", 1),
            ("count = 2\n[a]\ndedicated_only = 1\ndedicated_count = 1", Isolated, "2*b+c 1*a!", 1),
        ] {
            let placements = BTreeMap::from([("a".into(), placement)]);
            let plan = plan(&config(&format!("[GearmanManager]\n{ini}")), &names("a b c"), &placements);
            assert_eq!((shown(&plan).as_str(), plan.planned("a")), (expected, planned), "{ini}");
        }
        let alone = BTreeMap::from([("a".into(), Isolated)]);
        assert_eq!(shown(&plan(&config("[GearmanManager]\ncount = 2"), &names("a"), &alone)), "2*a!");
    }

    #[test]
    fn include_and_exclude() {
        use ExcludedFunction::{Excluded, NotIncluded};
        let left = |plan: &Plan| plan.excluded.clone();
        for (global, expected, excluded) in [
            ("include = *", "2*a+b+c", vec![]),
            ("include = a, c", "2*a+c", vec![("b".into(), NotIncluded)]),
            ("include[] = a\ninclude[] = b", "2*a+b", vec![("c".into(), NotIncluded)]),
            ("exclude = b", "2*a+c", vec![("b".into(), Excluded)]),
            ("include = a,b\nexclude = b", "2*a", vec![("b".into(), Excluded), ("c".into(), NotIncluded)]),
            ("include = A", "", ["a", "b", "c"].map(|name| (name.into(), NotIncluded)).to_vec()),
        ] {
            let plan = of(&format!("[GearmanManager]\ncount = 2\n{global}"), "a b c");
            assert_eq!((shown(&plan).as_str(), left(&plan)), (expected, excluded), "{global}");
        }
    }

    #[test]
    fn the_highest_priority_is_registered_last() {
        let ini = "[GearmanManager]\ncount = 1\n[a]\npriority = 5\n[c]\npriority = -1\n[d]\npriority = 99";
        assert_eq!(shown(&of(ini, "a b c d e")), "1*c+b+e+a+d");
    }

    #[test]
    fn what_is_named_but_not_there_is_a_warning() {
        let ini = "[GearmanManager]\ninclude = b,resize,gone,also\nexclude = old\n[gone]\n[b]\n[old]\n[Re-size]";
        let plan = of(ini, "resize b");
        let warnings: Vec<String> = plan.missing.iter().map(UnknownSection::to_string).collect();
        assert_eq!(
            warnings,
            [
                "gm.ini:7: Re-size is named by section [Re-size], but no worker directory holds a library of that name; \
                 did you mean resize?",
                "gm.ini:2: also is named by include, but no worker directory holds a library of that name",
                "gm.ini:4: gone is named by section [gone] and include, but no worker directory holds a library of that \
                 name",
            ]
        );
        assert_eq!(of("[GearmanManager]\ncount = 3", ""), Plan::default());
    }

    #[test]
    fn a_configuration_made_by_hand_cannot_break_it() {
        let own = FunctionConfig { dedicated_only: true, dedicated_count: Some(0), ..FunctionConfig::default() };
        let mut config = Config { count: u32::MAX, dedicated_count: Some(u32::MAX), ..Config::default() };
        config.functions.insert("a".into(), own);
        let plan = plan(&config, &names("a b"), &BTreeMap::new());
        assert_eq!(plan.excluded, [("a".into(), ExcludedFunction::NoDedicatedCount)]);
        assert_eq!((plan.planned("b"), plan.workers()), (u32::MAX, u32::MAX));
    }

    #[test]
    fn is_shown_as_comments() {
        let plan = of("[GearmanManager]\ncount = 2\nexclude = c\n[a]\ncount = 3\n[x]", "a b c");
        assert_eq!(
            plan.to_string(),
            "; plan: 3 workers\n\
             ;   2 x a, b\n\
             ;   1 x a only\n\
             ;   left out: c, since exclude names it\n\
             ;   warning: gm.ini:6: x is named by section [x], but no worker directory holds a library of that name\n"
        );
    }

    #[test]
    fn equal_priorities_are_shuffled_and_no_others() {
        let priority = |name: &str| match name {
            "low" => -1,
            "high" => 1,
            _ => 0,
        };
        let functions = names("a high b low c");
        let mut rng = fastrand::Rng::with_seed(3);
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let order = shuffle(&functions, priority, &mut rng);
            assert_eq!((order[0].as_str(), order[4].as_str()), ("low", "high"));
            let middle: BTreeSet<_> = order[1..4].iter().cloned().collect();
            assert_eq!(middle, names("a b c").into_iter().collect());
            seen.insert(order);
        }
        assert_eq!(seen.len(), 6);
    }
}
