//! What people do and ask: templates, preferences, and what was said.

use std::collections::BTreeMap;

use redeliver::TableKey;
use redeliver::prelude::*;

use super::defaults;
use super::messages::{
    NotificationById, NotificationView, NotificationsOf, PreferencesOf, PreferencesView,
    PreviewTemplate, PreviewView, RewriteTemplate, SetPreferences, SwitchTemplate, TemplateById,
    TemplateView, TemplatesList, WriteTemplate,
};
use super::occasion::{Channel, Occasion};
use super::service::Notifications;
use super::tables::{
    CONTACTS, ContactOf, NOTIFICATIONS, NOTIFICATIONS_BY_RECIPIENT, PREFERENCES, Preferred,
    TEMPLATES, TEMPLATES_BY_OCCASION, recipient,
};
use super::templates::{Template, no_event};
use crate::ids::{NotificationId, TemplateId, UserId};
use crate::page::{Listing, from_hex};
use crate::version::unchanged;

/// Templates that people may write beside the program's own.
const TEMPLATES_MAX: usize = 200;

impl Notifications {
    pub(super) fn write_template(
        &self,
        new: WriteTemplate,
        cx: &mut Context<Self>,
    ) -> Result<TemplateView, Rejection> {
        let template = Template::written(new.text, 1, false)?;
        let known = all_templates(cx)?;
        if known.len() >= TEMPLATES_MAX + defaults::all().count() {
            return Err(Rejection::conflict(
                "too_many_templates",
                format!("there are {TEMPLATES_MAX} written templates; rewrite one of them"),
            ));
        }
        let id = TemplateId(cx.new_id());
        check_name(id, &template, &known)?;
        cx.put(TEMPLATES, &id, &template)?;
        Ok(template.view(id))
    }

    pub(super) fn rewrite_template(
        &self,
        change: RewriteTemplate,
        cx: &mut Context<Self>,
    ) -> Result<TemplateView, Rejection> {
        let id = change.template_id;
        let old = template(id, cx)?;
        unchanged("the template", old.version, change.if_version.as_deref())?;
        let template = Template::written(change.text, old.version + 1, old.active)?;
        check_name(id, &template, &all_templates(cx)?)?;
        cx.put(TEMPLATES, &id, &template)?;
        Ok(template.view(id))
    }

    pub(super) fn switch_template(
        &self,
        change: SwitchTemplate,
        cx: &mut Context<Self>,
    ) -> Result<TemplateView, Rejection> {
        let id = change.template_id;
        let mut template = template(id, cx)?;
        unchanged(
            "the template",
            template.version,
            change.if_version.as_deref(),
        )?;
        if template.active == change.active {
            return Ok(template.view(id));
        }
        if change.active && template.occasion.is_none() {
            return Err(no_event());
        }
        template.active = change.active;
        template.version += 1;
        cx.put(TEMPLATES, &id, &template)?;
        Ok(template.view(id))
    }

    pub(super) fn set_preferences(
        &self,
        change: SetPreferences,
        cx: &mut Context<Self>,
    ) -> Result<PreferencesView, Rejection> {
        let user_id = change.user_id;
        let old = preferred(user_id, cx)?;
        let what = "what the user is told of";
        unchanged(what, old.version, change.if_version.as_deref())?;
        let preferences = change.preferences;
        let version = old.version + 1;
        let row = Preferred {
            preferences,
            version,
        };
        cx.put(PREFERENCES, &user_id, &row)?;
        Ok(PreferencesView {
            user_id,
            preferences,
            version,
        })
    }

    pub(super) fn by_id(
        &self,
        ask: NotificationById,
        view: &View<Self>,
    ) -> Result<NotificationView, Rejection> {
        let id = ask.notification_id;
        match view.get(NOTIFICATIONS, &id)? {
            Some(told) => Ok(told.view(id)),
            None => Err(no_such_notification()),
        }
    }

    pub(super) fn of_recipient(
        &self,
        ask: NotificationsOf,
        view: &View<Self>,
    ) -> Result<Listing<NotificationView>, Rejection> {
        let span = Span::prefix(&recipient(ask.user_id)).descending();
        let span = ask.page.of::<(uuid::Uuid, NotificationId)>(span)?;
        let rows = view.rows_by(NOTIFICATIONS_BY_RECIPIENT, &span)?;
        let key = |(whose, id, _): &(uuid::Uuid, NotificationId, _)| (*whose, *id);
        ask.page.listing(rows, key, |(_, id, told)| told.view(id))
    }

    pub(super) fn template_by_id(
        &self,
        ask: TemplateById,
        view: &View<Self>,
    ) -> Result<TemplateView, Rejection> {
        Ok(template(ask.template_id, view)?.view(ask.template_id))
    }

    pub(super) fn templates(
        &self,
        ask: TemplatesList,
        view: &View<Self>,
    ) -> Result<Listing<TemplateView>, Rejection> {
        // Checks the cursor; the rows come from two places and are few.
        ask.page.of::<TemplateId>(Span::all())?;
        let cursor = ask.page.cursor.as_deref().and_then(from_hex);
        let after = cursor.and_then(|bytes| TemplateId::from_bytes(&bytes));
        let mut rows: Vec<(TemplateId, Template)> = all_templates(view)?.into_iter().collect();
        rows.retain(|(id, _)| after.is_none_or(|after| *id > after));
        ask.page
            .listing(rows, |(id, _)| *id, |(id, template)| template.view(id))
    }

    pub(super) fn preview(
        &self,
        ask: PreviewTemplate,
        view: &View<Self>,
    ) -> Result<PreviewView, Rejection> {
        template(ask.template_id, view)?.preview(&ask.variables)
    }

    pub(super) fn preferences_of(
        &self,
        ask: PreferencesOf,
        view: &View<Self>,
    ) -> Result<PreferencesView, Rejection> {
        let Preferred {
            preferences,
            version,
        } = preferred(ask.user_id, view)?;
        Ok(PreferencesView {
            user_id: ask.user_id,
            preferences,
            version,
        })
    }

    /// The templates by which this is told.
    pub(super) fn active_templates(
        &self,
        occasion: Occasion,
        view: &View<Self>,
    ) -> Result<Vec<(TemplateId, Template)>, Rejection> {
        let mut active = Vec::new();
        for channel in Channel::ALL {
            let id = defaults::id(occasion, channel);
            // One that was rewritten is found among the written ones, whatever it tells of now.
            if view.get(TEMPLATES, &id)?.is_none() {
                active.push((id, defaults::template(occasion, channel)));
            }
        }
        let written = view.rows_by(TEMPLATES_BY_OCCASION, &Span::prefix(&occasion))?;
        active.extend(written.into_iter().map(|(_, id, template)| (id, template)));
        active.retain(|(_, template)| template.active);
        active.sort_unstable_by_key(|(id, _)| *id);
        Ok(active)
    }
}

/// The template of this id: as somebody has written it, else the program's own.
fn template(id: TemplateId, view: &View<Notifications>) -> Result<Template, Rejection> {
    let written = view.get(TEMPLATES, &id)?;
    written.or_else(|| defaults::find(id)).ok_or_else(|| {
        Rejection::not_found(
            "no_such_template",
            "there is no such template; check the id",
        )
    })
}

fn all_templates(view: &View<Notifications>) -> Result<BTreeMap<TemplateId, Template>, Rejection> {
    let mut all: BTreeMap<TemplateId, Template> = defaults::all().collect();
    all.extend(view.scan(TEMPLATES, &Span::all())?);
    Ok(all)
}

fn check_name(
    id: TemplateId,
    template: &Template,
    known: &BTreeMap<TemplateId, Template>,
) -> Result<(), Rejection> {
    let taken = known.iter().any(|(other, one)| {
        *other != id && one.channel == template.channel && one.name == template.name
    });
    if taken {
        return Err(Rejection::conflict(
            "template_exists",
            format!(
                "there is a template `{}` for {} already; rewrite it or choose another name",
                template.name,
                template.channel.name()
            ),
        ));
    }
    Ok(())
}

/// What a user has chosen; of a deleted user nothing is known any more.
fn preferred(user: UserId, view: &View<Notifications>) -> Result<Preferred, Rejection> {
    if let Some(ContactOf::Gone { .. }) = view.get(CONTACTS, &user)? {
        return Err(Rejection::not_found(
            "no_such_user",
            "there is no such user; check the id",
        ));
    }
    Ok(view.get(PREFERENCES, &user)?.unwrap_or_default())
}

/// The answer to whoever asks for what is not there, or not theirs.
pub(crate) fn no_such_notification() -> Rejection {
    Rejection::not_found(
        "no_such_notification",
        "there is no such notification; check the id",
    )
}
