//! The gateway as a process with a real Redis: every forge's real deliveries, and everything that strangers may
//! try. `scripts/setup.sh --tests` installs the independent signers.

#[cfg(test)]
mod forges;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod reload;
