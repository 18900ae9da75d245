with

ledger as (
    select * from {{ source('finance', 'ledger') }}
),

-- Texts of a certain form only; anything else is null.
matched as (
    select
        id,
        year,
        month,
        day,
        item,
        type,
        `to`,
        store,
        source,
        posted_date,
        receipt,
        solo_part,
        created_at,
        updated_at,
        _batch_id,
        _extra,
        coalesce(
            cost,
            safe.parse_numeric(
                regexp_extract(
                    json_value(_extra, '$.cost'), r'^\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*$'
                )
            )
        ) as amount,
        safe_cast(
            regexp_extract(solo_part, r'^\s*(\d{1,6})\s*/\s*\d{1,6}\s*$') as int64
        ) as share_numerator,
        safe_cast(
            regexp_extract(solo_part, r'^\s*\d{1,6}\s*/\s*(\d{1,6})\s*$') as int64
        ) as share_denominator,
        coalesce(_is_deleted, false) as is_deleted,
        -- Of 30 February, or of a part that is missing, there is no date.
        if(
            year between 1 and 9999 and month between 1 and 12 and day between 1 and 31,
            safe_cast(format('%04d-%02d-%02d', year, month, day) as date),
            null
        ) as entry_date,
        {{ ledger_stamp('created_at') }} as created_at_utc,
        {{ ledger_stamp('updated_at') }} as updated_at_utc,
        _inserted_at,
    from ledger
),

-- A share is n of m equal parts, none to all of them.
shared as (
    select
        id,
        year,
        month,
        day,
        item,
        type,
        `to`,
        store,
        source,
        posted_date,
        receipt,
        solo_part,
        created_at,
        updated_at,
        _batch_id,
        _extra,
        amount,
        share_numerator,
        share_denominator,
        coalesce(
            share_denominator > 0 and share_numerator <= share_denominator, false
        ) as is_share,
        is_deleted,
        entry_date,
        created_at_utc,
        updated_at_utc,
        _inserted_at,
    from matched
),

final as (
    select
        id as entry_id,
        _batch_id as batch_id,

        type as entry_type,
        item,
        `to` as counterparty,
        store,
        source as account,
        posted_date,
        receipt,
        solo_part,
        nullif(
            array_to_string(
                [
                    if(trim(solo_part) != '' and not is_share, 'solo_part', null),
                    if(trim(created_at) != '' and created_at_utc is null, 'created_at', null),
                    if(trim(updated_at) != '' and updated_at_utc is null, 'updated_at', null)
                ],
                ','
            ),
            ''
        ) as unread_fields,
        _extra as extra_json,

        year as entry_year,
        month as entry_month,
        day as entry_day,
        amount,
        if(is_share, share_numerator, 1) as share_numerator,
        if(is_share, share_denominator, 1) as share_denominator,

        is_deleted,

        entry_date,
        created_at_utc as created_at,
        updated_at_utc as updated_at,
        _inserted_at as inserted_at,
    from shared
)

select * from final
