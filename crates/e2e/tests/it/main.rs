//! gateway, prow, forgery and notifier as processes, with a real Redis, Docker Engine, git server,
//! registry and receiver. `scripts/setup.sh` installs and starts what is missing.

#[cfg(test)]
mod builds;
#[cfg(test)]
mod cancelling;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod life;
#[cfg(test)]
mod telemetry;
