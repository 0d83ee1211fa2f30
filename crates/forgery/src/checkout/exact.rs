//! One commit by its full name, in as few requests as the protocol has (gitprotocol-v2): what the server can do, then the
//! pack. gix's own way asks for the refs between the two, and without a login first.

use super::{credentials::Login, fetch::answer};
use gix::{
    ObjectId, Repository, Result,
    odb::pack::{self, Bundle},
    progress::{Discard, DynNestedProgress},
    protocol::{
        self,
        fetch::{
            Arguments, Context, Negotiate, Options, Response, Shallow, Tags,
            negotiate::{Action, Round, one_round},
        },
        transport::{Service, client::TransportWithoutIO as _},
    },
    remote::Direction,
};
use std::{fs, io, sync::atomic::AtomicBool};

/// What is wanted, and what is there already: the server sends what is new since.
pub(super) struct Exact {
    pub(super) wanted: ObjectId,
    pub(super) known: Vec<ObjectId>,
    /// The largest object that is read, in bytes.
    pub(super) most_bytes: u64,
}

/// Says at once all that there is to say: there is no second round.
impl Negotiate for Exact {
    fn mark_complete_and_common_ref(&mut self) -> Result<Action> {
        Ok(Action::MustNegotiate {
            remote_ref_target_known: Vec::new(),
        })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _known: &[bool]) -> bool {
        arguments.want(self.wanted);
        true
    }

    fn one_round(
        &mut self,
        _state: &mut one_round::State,
        arguments: &mut Arguments,
        _previous: Option<&Response>,
    ) -> Result<(Round, bool)> {
        self.known.iter().for_each(|id| arguments.have(id));
        let round = Round {
            haves_sent: self.known.len(),
            in_vain: 0,
            haves_to_send: self.known.len(),
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}

// === impl Exact ===

impl Exact {
    /// Brings the commit and its tree into the repository, without history.
    pub(super) fn fetch(
        mut self,
        repository: &Repository,
        source: &str,
        login: &Login,
        stop: &AtomicBool,
    ) -> Result<()> {
        let remote = repository.remote_at(source)?;
        let mut connection = remote.connect(Direction::Fetch)?;
        let transport = connection.transport_mut();
        if let Some(options) = repository.transport_options(source, None)? {
            transport.configure(&*options)?;
        }
        if let Some(account) = login.account() {
            transport.set_identity(account).ok(); // Not every transport has one.
        }
        let mut handshake = protocol::handshake(
            &mut *transport,
            Service::UploadPack,
            answer(login, source),
            Vec::new(),
            &mut Discard,
        )?;
        let shallow_file = repository.shallow_file()?;
        let options = Options {
            shallow_file,
            shallow: &Shallow::DepthAtRemote(std::num::NonZeroU32::MIN),
            tags: Tags::None,
            reject_shallow_remote: false,
        };
        let context = Context {
            handshake: &mut handshake,
            transport,
            user_agent: (
                "agent",
                Some(protocol::agent(concat!("forge/", env!("CARGO_PKG_VERSION")))),
            ),
            trace_packetlines: false,
        };
        let most = usize::try_from(self.most_bytes).ok();
        let into_pack = |pack: &mut dyn io::BufRead, progress: &mut dyn DynNestedProgress, stop: &AtomicBool| {
            write(repository, pack, progress, stop, most)
        };
        protocol::fetch(&mut self, into_pack, Discard, stop, context, options)?;
        protocol::indicate_end_of_interaction(transport, false).ok(); // We have what we came for.
        Ok(())
    }
}

/// Writes a pack and its index, and lets it be tidied up as any other.
fn write(
    repository: &Repository,
    pack: &mut dyn io::BufRead,
    progress: &mut dyn DynNestedProgress,
    stop: &AtomicBool,
    most_bytes: Option<usize>,
) -> Result<bool> {
    let options = pack::bundle::write::Options {
        alloc_limit_bytes: most_bytes,
        ..Default::default()
    };
    let folder = repository.objects.store_ref().path().join("pack");
    let bases = Some(Box::new(repository.objects.clone()));
    let kind = repository.object_hash();
    let written = Bundle::write_to_directory(pack, Some(&folder), progress, stop, bases, kind, options)?;
    if let Some(keep) = written.keep_path {
        fs::remove_file(keep).map_err(gix::Error::from_error)?;
    }
    Ok(true)
}
