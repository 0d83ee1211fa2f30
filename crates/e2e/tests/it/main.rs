//! gateway, prow, forgery and notifier as processes, with a real Redis, Docker Engine, git server,
//! registry and receiver. `scripts/setup.sh` installs and starts what is missing.

#[cfg(test)]
mod access;
#[cfg(test)]
mod builds;
#[cfg(test)]
mod cancelling;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod composed;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod deaths;
#[cfg(test)]
mod delivering;
#[cfg(test)]
mod deploying;
#[cfg(test)]
mod disks;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod elastic;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod images;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod integrations;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod life;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod pipelines;
#[cfg(test)]
mod planning;
#[cfg(test)]
mod queues;
#[cfg(test)]
mod receivers;
#[cfg(test)]
mod reconciling;
#[cfg(test)]
mod redelivery;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod topologies;
#[cfg(test)]
mod units;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod workflows;
