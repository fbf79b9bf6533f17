//! Free TCP ports of 127.0.0.1 for components that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the range from which the system takes ports for outgoing connections, so that none of those lands on a port
/// between its choice here and its use.
const FIRST: u32 = 15_000;
const COUNT: u32 = 15_000;
/// Ports that a step of one process id is away from the next: test processes start far from each other.
const STRIDE: u32 = 97;
const ATTEMPTS: usize = 3;

/// `N` ports that were free a moment ago and are given to nobody else in this process soon.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = [0; N];
    let mut found = 0;
    for _ in 0..COUNT {
        let offset =
            std::process::id().wrapping_mul(STRIDE).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + offset % COUNT)?;
        // All addresses, as some components listen on all.
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            ports[found] = port;
            found += 1;
            if found == N {
                return Ok(ports);
            }
        }
    }
    bail!("found no {N} free ports")
}

/// Runs `start`, which chooses ports by [`free`], again if it fails because another process took one in between.
pub async fn retry_on_clash<T>(mut start: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match start().await {
            Err(error) if attempt < ATTEMPTS && is_clash(&error) => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// The error's text holds the end of the component's log.
fn is_clash(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}").to_lowercase();
    text.contains("address already in use") || text.contains("address in use")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn ports_differ() {
        let mut ports: Vec<u16> = (0..20).flat_map(|_| free::<4>().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 80);
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let [port] = free::<1>().unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        // One whole turn through the range comes past the held port.
        let turn: Vec<u16> = (0..200).flat_map(|_| free::<75>().unwrap()).collect();
        assert!(!turn.contains(&port));
    }

    #[tokio::test]
    async fn only_a_clash_is_tried_again() {
        let mut starts = 0;
        let clash = retry_on_clash(async || {
            starts += 1;
            if starts < 3 { Err(anyhow!("bind: Address already in use")) } else { Ok(starts) }
        });
        assert_eq!(clash.await.unwrap(), 3);

        let mut starts = 0;
        let other = retry_on_clash(async || -> Result<()> {
            starts += 1;
            Err(anyhow!("no such file"))
        });
        assert!(other.await.is_err());
        assert_eq!(starts, 1);
    }
}
