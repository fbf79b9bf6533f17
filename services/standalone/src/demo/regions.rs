//! The three regions of the story, and how much wind they begin with.

/// A region with one cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Region {
    /// Label `location` of the cluster.
    pub(crate) location: &'static str,
    /// Name of the cluster.
    pub(crate) cluster: &'static str,
}

/// Two that the application may run in, and one with more wind than both, in which it may not.
pub(crate) const REGIONS: [Region; 3] = [
    Region { location: "DE", cluster: "hamburg" },
    Region { location: "FR", cluster: "brest" },
    Region { location: "DK", cluster: "esbjerg" },
];

/// Shares of the installed power.
pub(crate) const STRONG: f64 = 0.72;
pub(crate) const WEAK: f64 = 0.31;
const BEST: f64 = 0.93;
/// After it has turned.
pub(crate) const TURNED: (f64, f64) = (0.18, 0.81);

impl Region {
    /// Name of the region's metric.
    pub(crate) fn metric(&self) -> String {
        format!("wind-{}", self.location.to_lowercase())
    }

    /// How much wind blows at the beginning, if the application is on the cluster `home`.
    pub(crate) fn first_wind(&self, home: &Region) -> f64 {
        match self.location {
            "DK" => BEST,
            _ if self == home => STRONG,
            _ => WEAK,
        }
    }

    /// Where the application may go from here.
    pub(crate) fn other(&self) -> &'static Region {
        if *self == REGIONS[0] { &REGIONS[1] } else { &REGIONS[0] }
    }

    /// The region of a cluster, if the application may run there; else the first.
    pub(crate) fn home(cluster: Option<&str>) -> &'static Region {
        REGIONS[..2].iter().find(|region| Some(region.cluster) == cluster).unwrap_or(&REGIONS[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wind_begins_where_the_application_is_and_turns_to_the_other_place() {
        for (present, home, other) in [
            (None, "hamburg", "brest"),
            (Some("brest"), "brest", "hamburg"),
            (Some("esbjerg"), "hamburg", "brest"),
        ] {
            let region = Region::home(present);
            assert_eq!((region.cluster, region.other().cluster), (home, other));
            assert!(region.first_wind(region) > region.other().first_wind(region));
            assert!(TURNED.1 > TURNED.0 + 0.2, "more than the present cluster's advantage");
        }
    }
}
